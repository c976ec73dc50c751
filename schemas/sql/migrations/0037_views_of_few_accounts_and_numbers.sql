-- The views as they were, made again: a view keeps the types that its columns had, and a condition on an account that is
-- converted first does not reach the key of its table. After 0036.
CREATE OR REPLACE VIEW v_messages AS
SELECT
    counters.day AS day,
    counters.account AS account,
    counters.number AS number,
    counters.country AS country,
    counters.category AS category,
    counters.template AS template,
    sum(counters.total) AS total,
    sum(counters.sent) AS sent,
    sum(counters.delivered) AS delivered,
    sum(counters.read) AS read,
    sum(counters.not_delivered) AS not_delivered
FROM messages AS counters FINAL
WHERE counters.generation IN (SELECT generation FROM generations FINAL WHERE live = 1)
GROUP BY day, account, number, country, category, template;

CREATE OR REPLACE VIEW v_deliveries AS
SELECT
    counters.day AS day,
    counters.account AS account,
    counters.number AS number,
    counters.country AS country,
    counters.category AS category,
    counters.template AS template,
    counters.pricing_type AS pricing_type,
    counters.billable AS billable,
    counters.service_window AS service_window,
    counters.free_entry_point AS free_entry_point,
    sum(counters.delivered) AS delivered
FROM deliveries AS counters FINAL
WHERE counters.generation IN (SELECT generation FROM generations FINAL WHERE live = 1)
GROUP BY
    day, account, number, country, category, template,
    pricing_type, billable, service_window, free_entry_point;

CREATE OR REPLACE VIEW v_failures AS
SELECT
    counters.day AS day,
    counters.account AS account,
    counters.number AS number,
    counters.country AS country,
    counters.category AS category,
    counters.template AS template,
    counters.error_code AS error_code,
    sum(counters.not_delivered) AS not_delivered
FROM failures AS counters FINAL
WHERE counters.generation IN (SELECT generation FROM generations FINAL WHERE live = 1)
GROUP BY day, account, number, country, category, template, error_code;

CREATE OR REPLACE VIEW v_conversations AS
SELECT
    counters.day AS day,
    counters.account AS account,
    counters.number AS number,
    counters.country AS country,
    counters.type AS type,
    counters.category AS category,
    sum(counters.total) AS total,
    sum(counters.free) AS free,
    sum(counters.charged) AS charged
FROM conversations AS counters FINAL
WHERE counters.generation IN (SELECT generation FROM generations FINAL WHERE live = 1)
GROUP BY day, account, number, country, type, category;

CREATE OR REPLACE VIEW v_incoming AS
SELECT
    counters.day AS day,
    counters.account AS account,
    counters.number AS number,
    counters.country AS country,
    sum(counters.count) AS count
FROM incoming AS counters FINAL
WHERE counters.generation IN (SELECT generation FROM generations FINAL WHERE live = 1)
GROUP BY day, account, number, country;

CREATE OR REPLACE VIEW v_active_users AS
SELECT
    counters.day AS day,
    counters.account AS account,
    counters.number AS number,
    counters.country AS country,
    counters.rule AS rule,
    sum(counters.users) AS users
FROM active_users AS counters FINAL
WHERE counters.generation IN (SELECT generation FROM generations FINAL WHERE live = 1)
GROUP BY day, account, number, country, rule;

CREATE OR REPLACE VIEW v_mau AS
SELECT
    months.month AS month,
    months.account AS account,
    months.number AS number,
    months.mau_any AS mau_any,
    months.mau_both AS mau_both,
    months.mau_phones AS mau_phones,
    if(plan.account = '' OR plan.until < months.last_day, NULL, plan.mau_package) AS package,
    if(plan.mau_rule = 'both', months.mau_both, months.mau_any) AS mau,
    if(isNull(package), NULL, greatest(0, toInt64(package) - mau)) AS balance,
    if(isNull(package), NULL, greatest(0, mau - toInt64(package))) AS amau
FROM
(
    SELECT
        toStartOfMonth(v.day) AS month,
        toDate32(toLastDayOfMonth(v.day)) AS last_day,
        v.account AS account,
        v.number AS number,
        sumIf(v.users, v.rule = 'any') AS mau_any,
        sumIf(v.users, v.rule = 'both') AS mau_both,
        sumIf(v.users, v.rule IN ('any', 'phones')) AS mau_phones
    FROM v_active_users AS v
    WHERE v.country = ''
    GROUP BY month, last_day, account, number
) AS months
ASOF LEFT JOIN v_plans AS plan
    ON months.account = plan.account AND months.number = plan.number AND months.last_day >= plan.effective;
