"""Following: who wants to hear of which resources, agencies and searches, and what changed for them."""
