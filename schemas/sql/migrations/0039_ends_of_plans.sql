-- The last day on which a plan is in force: the one before the next plan of the same account or number begins, or the end of
-- its licence. 2299-12-31 = no end. Plans that were loaded before have no such day until they are loaded again (0040).
ALTER TABLE plans ADD COLUMN IF NOT EXISTS ends Date32 DEFAULT toDate32('2299-12-31') AFTER effective;
-- Made again, as a view keeps the columns that its table had.
CREATE OR REPLACE VIEW v_plans AS
SELECT * EXCEPT (digest)
FROM plans FINAL
WHERE digest = (SELECT argMax(digest, loaded_at) FROM price_loads);
