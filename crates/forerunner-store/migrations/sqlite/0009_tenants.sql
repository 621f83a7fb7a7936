-- The tasks of each tenant. Those of the default tenant are most, and found by the other indexes.
CREATE INDEX tasks_by_tenant ON tasks (tenant, id) WHERE tenant <> 'default';
