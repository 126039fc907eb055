"""The statements of the audit, which every engine runs alike: DuckDB here, Spark elsewhere."""

from __future__ import annotations

_NEAR = 20  # resources compared with one
_LEAST_ITEMS = 2
LEAST_CONTAINED = 0.5  # of the smaller resource's items, for a pair of resources to be shown
_PAIRS_SHOWN = 100_000

# Which names may mean the same: rare pieces of spelling in common, known to be one element, or near in meaning
# (thousandths; 0 where no encoder compared them or they are further apart).
LINKS = """
SELECT one, other, max(meaning) AS meaning FROM (
    SELECT a.name AS one, b.name AS other, 0 AS meaning FROM spelt a JOIN spelt b ON a.gram = b.gram AND a.name < b.name
    UNION ALL
    SELECT a.name AS one, b.name AS other, 0 AS meaning FROM means a JOIN means b ON a.element = b.element AND a.name < b.name
    UNION ALL
    SELECT one, other, meaning FROM meant
) candidates
GROUP BY one, other
"""
# Which resources are near: they share elements or topics that few others have. Weights are whole numbers, so
# that every engine adds them up to the same.
NEAR = f"""
SELECT DISTINCT least(one, other) AS one, greatest(one, other) AS other FROM (
    SELECT one, other, row_number() OVER (PARTITION BY one ORDER BY weight DESC, other) AS place FROM (
        SELECT a.resource AS one, b.resource AS other, sum(a.weight) AS weight
        FROM feature a JOIN feature b ON a.feature = b.feature AND a.resource <> b.resource
        WHERE a.wanted + b.wanted > 0
        GROUP BY a.resource, b.resource
    ) weighed
) ranked WHERE place <= {_NEAR}
"""
# Their items whose names are linked, side by side.
PAIRS = """
SELECT n.one AS resource_one, n.other AS resource_other, a.item AS item_one, b.item AS item_other,
       a.key AS key_one, b.key AS key_other, a.data_type AS type_one, b.data_type AS type_other,
       a.code_list AS list_one, b.code_list AS list_other, r.title AS title_one, s.title AS title_other,
       r.agency = s.agency AS within, r.size AS size_one, s.size AS size_other, r.population AS population_one, s.population AS population_other,
       CAST(sum(l.named * a.telling * b.telling) OVER (PARTITION BY n.one, n.other) AS INT) AS company,
       l.named * a.telling * b.telling AS telling, l.meaning AS meaning
FROM near n
JOIN held a ON a.resource = n.one
JOIN link l ON l.one = a.name
JOIN held b ON b.resource = n.other AND b.name = l.other
JOIN resource r ON r.resource = n.one
JOIN resource s ON s.resource = n.other
"""
# How much of the smaller resource the other holds.
RANKED = f"""
SELECT p.resource_one, p.resource_other, p.items, r.agency = s.agency AS within, r.size AS size_one, s.size AS size_other
FROM (
    SELECT resource_one, resource_other, least(count(DISTINCT item_one), count(DISTINCT item_other)) AS items
    FROM scored WHERE same GROUP BY resource_one, resource_other
) p
JOIN resource r ON r.resource = p.resource_one
JOIN resource s ON s.resource = p.resource_other
WHERE p.items >= {_LEAST_ITEMS} AND p.items >= {LEAST_CONTAINED} * least(r.size, s.size)
ORDER BY p.items * 1.0 / least(r.size, s.size) DESC, p.items DESC, p.resource_one, p.resource_other
"""
SURE = "SELECT item_one, item_other, score FROM scored WHERE band = 'reuse_expected' ORDER BY score DESC, item_one, item_other"
SHOWN = f"""
SELECT item_one, item_other, score, band, against FROM scored WHERE band <> 'new'
ORDER BY band, score DESC, item_one, item_other LIMIT {_PAIRS_SHOWN}
"""
