WITH chosen AS (
    SELECT
        (ARRAY['Amina Haddad', 'Jonas Weber', 'Lucia Romano', 'Diego Silva', 'Mei Tanaka'])[1 + floor(random() * 5)::int] AS customer,
        (ARRAY['Espresso Machine', 'Camping Tent', 'Desk Lamp', 'Office Chair', 'Rain Jacket'])[1 + floor(random() * 5)::int] AS product,
        (ARRAY['Egypt', 'Germany', 'Italy', 'Brazil', 'Japan'])[1 + floor(random() * 5)::int] AS country,
        (ARRAY[1, 2, 3, 3, 4, 4, 4, 5, 5, 5])[1 + floor(random() * 10)::int] AS rate
)
INSERT INTO rating.rates (customer_name, customer_email, product, country_name, rate, comment)
SELECT customer, lower(replace(customer, ' ', '.')) || '@example.com', product, country, rate,
    (ARRAY['I want my money back.', 'Badly made for the price.', 'Does its job, no more.', 'Good quality.', 'Excellent!'])[rate]
FROM chosen;

UPDATE rating.rates SET rate = 1 + floor(random() * 5)::int
WHERE random() < 0.1 AND id = (SELECT max(id) - 3 FROM rating.rates);

DELETE FROM rating.rates
WHERE random() < 0.03 AND id = (SELECT max(id) - 5 FROM rating.rates);
