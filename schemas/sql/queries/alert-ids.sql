-- Which of some notices are there. A copy of a copy is the same id: nothing has to be merged for it.
SELECT DISTINCT v.id AS id
FROM alerts AS v
WHERE v.account IN {accounts:Array(String)} AND v.id IN {ids:Array(String)}
