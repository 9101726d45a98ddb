-- The CRM's tables, on another MariaDB: international numbers, letters for levels, English phases, milliseconds since 1970.
CREATE TABLE customers (
  tel    VARCHAR(24)   NOT NULL PRIMARY KEY,
  name   VARCHAR(64)   NULL,
  grade  CHAR(1)       NOT NULL DEFAULT 'B',
  credit DECIMAL(12,0) NOT NULL DEFAULT 0,
  born   DATE          NULL,
  since  BIGINT        NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE sales (
  sale_no      VARCHAR(32)   NOT NULL PRIMARY KEY,
  customer_tel VARCHAR(24)   NOT NULL,
  phase        VARCHAR(16)   NOT NULL DEFAULT 'PENDING',
  total        DECIMAL(12,2) NOT NULL,
  paid         TIMESTAMP(6)  NULL DEFAULT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE goods (
  code    VARCHAR(32) NOT NULL PRIMARY KEY,
  on_hand INT         NOT NULL DEFAULT 0
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

-- Subscribers are numbered by each system itself; visits refer to them by that number.
CREATE TABLE contacts (
  contact_no BIGINT      NOT NULL AUTO_INCREMENT PRIMARY KEY,
  tel        VARCHAR(24) NULL,
  name       VARCHAR(64) NULL
) ENGINE=InnoDB AUTO_INCREMENT=900001 DEFAULT CHARSET=utf8mb4;

CREATE TABLE calls (
  call_no VARCHAR(32) NOT NULL PRIMARY KEY,
  contact BIGINT      NOT NULL,
  amount  INT         NOT NULL DEFAULT 0
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
