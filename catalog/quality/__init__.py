"""Quality of records: how good each is, with the reasons, worst first."""
