-- Which context of a name it is: one that is deleted and begun anew has another number. 0 for those of version 1.
ALTER TABLE contexts ADD COLUMN born INTEGER NOT NULL DEFAULT 0;
CREATE INDEX contexts_by_update ON contexts (updated_at);

-- What frames name instead of holding it, once for all contexts of a pool. Kinds: 0 item, 1 dictionary.
CREATE TABLE pieces (
    piece INTEGER PRIMARY KEY,
    pool INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    name BLOB NOT NULL,
    bytes BLOB NOT NULL,
    UNIQUE (pool, kind, name)
) STRICT;

-- Which contexts need which pieces. `since` is the newest version that is known to name it.
CREATE TABLE piece_uses (
    context INTEGER NOT NULL,
    piece INTEGER NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (context, piece)
) STRICT, WITHOUT ROWID;

CREATE INDEX piece_uses_by_piece ON piece_uses (piece);

-- What the contexts of tasks took, as JSON.
CREATE TABLE context_costs (
    task INTEGER PRIMARY KEY,
    cost TEXT NOT NULL
) STRICT;
