-- The tasks of each tenant. Those of the default tenant are most, and found by the other indexes.
CREATE INDEX live_by_tenant ON live (tenant, id) WHERE tenant <> 'default';
CREATE INDEX ended_by_tenant ON ended (tenant, id) WHERE tenant <> 'default';
