-- What became of an account's messages, by number: those of the last hours, and those of the week before beside them.
SELECT
    v.number AS number,
    sumIf(v.messages, v.minute >= {since:DateTime}) AS messages,
    sumIf(v.silent, v.minute >= {since:DateTime}) AS silent,
    sumIf(v.read_without_delivered, v.minute >= {since:DateTime}) AS read_without_delivered,
    sumIf(v.delivered_without_sent, v.minute >= {since:DateTime}) AS delivered_without_sent,
    sumIf(v.messages, v.minute < {since:DateTime}) AS usual_messages,
    sumIf(v.silent, v.minute < {since:DateTime}) AS usual_silent,
    sumIf(v.read_without_delivered, v.minute < {since:DateTime}) AS usual_read_without_delivered,
    sumIf(v.delivered_without_sent, v.minute < {since:DateTime}) AS usual_delivered_without_sent
FROM ladder_health AS v FINAL
WHERE v.account = {account:String} AND v.minute >= {usual_since:DateTime}
GROUP BY v.number
ORDER BY v.number
