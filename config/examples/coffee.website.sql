-- The website's tables, on MariaDB: phone numbers with dashes, Chinese order states, amounts as text with their unit.
CREATE TABLE members (
  mobile     VARCHAR(20)  NOT NULL PRIMARY KEY,
  nick_name  VARCHAR(64)  NULL,
  vip        TINYINT      NOT NULL DEFAULT 0,
  score      INT          NOT NULL DEFAULT 0,
  birthday   DATE         NULL,
  created_at DATETIME(3)  NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE orders (
  order_no      VARCHAR(32) NOT NULL PRIMARY KEY,
  member_mobile VARCHAR(20) NOT NULL,
  state         VARCHAR(16) NOT NULL DEFAULT '待支付',
  amount_text   VARCHAR(32) NOT NULL,
  paid_at       DATETIME(6) NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE stock (
  sku      VARCHAR(32) NOT NULL PRIMARY KEY,
  quantity INT         NOT NULL DEFAULT 0
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

-- Subscribers are numbered by each system itself; visits refer to them by that number.
CREATE TABLE subscribers (
  id     INT         NOT NULL AUTO_INCREMENT PRIMARY KEY,
  mobile VARCHAR(20) NULL,
  nick   VARCHAR(64) NULL
) ENGINE=InnoDB AUTO_INCREMENT=100001 DEFAULT CHARSET=utf8mb4;

CREATE TABLE visits (
  visit_no      VARCHAR(32) NOT NULL PRIMARY KEY,
  subscriber_id INT         NOT NULL,
  spent         INT         NOT NULL DEFAULT 0
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
