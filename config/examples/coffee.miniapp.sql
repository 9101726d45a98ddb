-- The mini-program's tables, on PostgreSQL: E.164 numbers, numbered order states, amounts in cents.
CREATE TABLE users (
  phone    text           PRIMARY KEY,
  nickname text,
  level    text           NOT NULL DEFAULT 'basic',
  points   bigint         NOT NULL DEFAULT 0,
  birthday date,
  created  timestamptz(3)
);
ALTER TABLE users REPLICA IDENTITY FULL;

CREATE TABLE orders (
  number       text           PRIMARY KEY,
  user_phone   text           NOT NULL,
  status       smallint       NOT NULL DEFAULT 0,
  amount_cents bigint         NOT NULL,
  paid_at      timestamptz(6)
);
ALTER TABLE orders REPLICA IDENTITY FULL;

CREATE TABLE inventory (
  item  text    PRIMARY KEY,
  stock integer NOT NULL DEFAULT 0
);
ALTER TABLE inventory REPLICA IDENTITY FULL;
