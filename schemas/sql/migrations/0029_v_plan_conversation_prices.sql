-- What readers see of plan_conversation_prices: the newest load.
CREATE VIEW IF NOT EXISTS v_plan_conversation_prices AS
SELECT * EXCEPT (digest)
FROM plan_conversation_prices FINAL
WHERE digest = (SELECT argMax(digest, loaded_at) FROM price_loads);
