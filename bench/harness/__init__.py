"""What every benchmark shares: servers, the standard workload, subjects in processes of their own, numbers, the report."""
