package postgres

import (
	"context"
	"encoding/json"
	"iter"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// Files of a batch. Each is durable before the batch comes here, and becomes visible with the transaction that loads the batch: what
// ingest.snapshot_files does not name is no part of a snapshot. A file whose Meta is a record.ObjectAttachments says instead what became of the
// attachments of an object, see attachment.go; one whose Meta is a record.Delivered, which webhooks are done with, see inbox.go.

// SnapshotFile is one file of a snapshot. Info is the JSON of the Meta that it came with (sinks/parquet.FileInfo), of which the other
// fields are a part.
type SnapshotFile struct {
	Run       record.UUID     `json:"run"`
	Location  string          `json:"location"`
	Path      string          `json:"path"`
	Layer     string          `json:"layer"`
	Stream    string          `json:"stream"`
	Table     string          `json:"table"`
	Seq       int64           `json:"seq"`
	Rows      int64           `json:"rows"`
	Bytes     int64           `json:"bytes"`
	SHA256    string          `json:"sha256"`
	Info      json.RawMessage `json:"info"`
	CreatedAt time.Time       `json:"created_at"`
}

// files are what the Files of one batch say.
type files struct {
	snapshot []SnapshotFile
	objects  []record.ObjectAttachments
	settled  []record.Delivered
}

// takeFiles reads the files of a batch and checks that they can be told to the database.
func takeFiles(list []pipeline.File, location string) (files, error) {
	var f files
	index := make(map[key]int)
	for _, x := range list {
		if d, ok := deliveredOf(x); ok {
			f.settled = append(f.settled, d)
			continue
		}
		if o, ok := attachmentsOf(x.Meta); ok {
			k := key{o.Kind, o.SourceID}
			if i, twice := index[k]; twice {
				f.objects[i] = o
				continue
			}
			index[k] = len(f.objects)
			f.objects = append(f.objects, o)
			continue
		}
		if location == "" {
			return f, invariant("the batch names the file %s and this sink was given no location of a snapshot", x.Path)
		}
		raw, err := json.Marshal(x.Meta)
		if err != nil {
			return f, invariant("the file %s has a description that is no JSON: %v", x.Path, err)
		}
		s := SnapshotFile{Location: location}
		if err := json.Unmarshal(raw, &s); err != nil {
			return f, invariant("the file %s has a description of another form: %v", x.Path, err)
		}
		if s.Info, err = record.CanonicalJSON(raw); err != nil {
			return f, invariant("the file %s has a description that cannot be kept: %v", x.Path, err)
		}
		if s.Path == "" || s.Path != x.Path || s.Stream == "" || s.Table == "" || len(s.SHA256) != 64 || s.Layer != "pages" && s.Layer != "rows" {
			return f, invariant("the file %s is not described: path %q, layer %q, stream %q, table %q, %d characters of sha256",
				x.Path, s.Path, s.Layer, s.Stream, s.Table, len(s.SHA256))
		}
		f.snapshot = append(f.snapshot, s)
	}
	return f, nil
}

func attachmentsOf(meta any) (record.ObjectAttachments, bool) {
	switch m := meta.(type) {
	case record.ObjectAttachments:
		return m, true
	case *record.ObjectAttachments:
		return *m, m != nil
	}
	return record.ObjectAttachments{}, false
}

// keepFiles names the files of a snapshot. A run has each path once: a second file of that name would have taken the place of one that is
// part of the snapshot.
func (l *loader) keepFiles(ctx context.Context, list []SnapshotFile) error {
	if len(list) == 0 {
		return nil
	}
	n := len(list)
	paths, layers, streams, tables, sums, infos := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	seqs, rows, bytes := make([]int64, n), make([]int64, n), make([]int64, n)
	for i, f := range list {
		paths[i], layers[i], streams[i], tables[i], sums[i], infos[i] = f.Path, f.Layer, f.Stream, f.Table, f.SHA256, string(f.Info)
		seqs[i], rows[i], bytes[i] = f.Seq, f.Rows, f.Bytes
	}
	_, err := l.conn.Exec(ctx, `INSERT INTO ingest.snapshot_files (org_id, run_id, location, path, layer, stream, table_name, seq, rows, bytes, sha256, info)
		SELECT $1, $2, $3, k.path, k.layer, k.stream, k.tbl, k.seq, k.rows, k.bytes, k.sum, k.info::jsonb
		FROM unnest($4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::bigint[], $10::bigint[], $11::text[], $12::text[])
			AS k(path, layer, stream, tbl, seq, rows, bytes, sum, info)`,
		l.org, l.run.ID, list[0].Location, paths, layers, streams, tables, seqs, rows, bytes, sums, infos)
	if SQLState(err) == "23505" {
		return invariant("run %s has a file named %s, or another of this batch, already", l.run.ID, list[0].Path)
	}
	return err
}

// SnapshotRun is a run that has files, with their totals.
type SnapshotRun struct {
	Run       record.UUID `json:"run"`
	Location  string      `json:"location"`
	Kind      string      `json:"kind"`
	State     RunState    `json:"state"` // as the database has it
	StartedAt time.Time   `json:"started_at"`
	Files     int64       `json:"files"`
	Rows      int64       `json:"rows"` // of both layers
	Bytes     int64       `json:"bytes"`
}

// SnapshotRuns lists the runs of org that have files, newest first; one that has files in several locations is there once for each.
func (db *DB) SnapshotRuns(ctx context.Context, org record.UUID) ([]SnapshotRun, error) {
	rows, err := db.pool.Query(ctx, `SELECT f.run_id, f.location, r.kind, r.state, r.started_at, f.files, f.rows, f.bytes
		FROM (SELECT run_id, location, count(*) AS files, sum(rows)::bigint AS rows, sum(bytes)::bigint AS bytes FROM ingest.snapshot_files
			WHERE org_id = $1 GROUP BY run_id, location) f JOIN ingest.runs r ON r.org_id = $1 AND r.id = f.run_id
		ORDER BY r.started_at DESC, r.id, f.location`, org)
	if err != nil {
		return nil, wrap(ctx, err, "list snapshots")
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (x SnapshotRun, err error) {
		err = row.Scan((*[16]byte)(&x.Run), &x.Location, &x.Kind, (*string)(&x.State), &x.StartedAt, &x.Files, &x.Rows, &x.Bytes)
		return x, err
	})
	return list, wrap(ctx, err, "list snapshots")
}

// SnapshotFiles yields the files of a run in the order of stream, Seq, layer and path, in no more memory than a page of them takes. It stops
// after yielding an error.
func (db *DB) SnapshotFiles(ctx context.Context, org, run record.UUID) iter.Seq2[SnapshotFile, error] {
	return pages(func(after *SnapshotFile) ([]SnapshotFile, error) {
		from := SnapshotFile{Seq: -1 << 63}
		if after != nil {
			from = *after
		}
		rows, err := db.pool.Query(ctx, `SELECT location, path, layer, stream, table_name, seq, rows, bytes, sha256, info, created_at FROM ingest.snapshot_files
			WHERE org_id = $1 AND run_id = $2 AND (stream, seq, layer, path) > ($3, $4, $5, $6) ORDER BY stream, seq, layer, path LIMIT $7`,
			org, run, from.Stream, from.Seq, from.Layer, from.Path, pageSize)
		if err != nil {
			return nil, wrap(ctx, err, "list the files of run %s", run)
		}
		list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (SnapshotFile, error) {
			f := SnapshotFile{Run: run}
			err := row.Scan(&f.Location, &f.Path, &f.Layer, &f.Stream, &f.Table, &f.Seq, &f.Rows, &f.Bytes, &f.SHA256, (*[]byte)(&f.Info), &f.CreatedAt)
			return f, err
		})
		return list, wrap(ctx, err, "list the files of run %s", run)
	})
}

// pageSize is how many rows are read at a time where a list can be long.
const pageSize = 1000

// pages yields what read returns for each page: the first page, then those behind the last row yielded, until one is not full. No connection is
// held while the caller works.
func pages[T any](read func(after *T) ([]T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var after *T
		for {
			page, err := read(after)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for i := range page {
				if !yield(page[i], nil) {
					return
				}
			}
			if len(page) < pageSize {
				return
			}
			after = &page[len(page)-1]
		}
	}
}
