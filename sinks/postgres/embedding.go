package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"haloingest/pipeline/record"
)

// Embeddings are vectors of the chunks and distilled records of org, by one model at a time. They are in knowledge.embedding, which is pgvector's type where
// the database has that and real[] elsewhere, and kept by what was embedded, so that nothing is embedded twice.

// EmbedRow is a row of knowledge to be embedded.
type EmbedRow struct {
	ID      record.UUID
	Content string
	Name    string // of whom it is about, may be empty
	hash    []byte
}

// vectorType is the type of knowledge.embedding: "vector" where it is pgvector's.
func vectorType(ctx context.Context, q querier) (name string, err error) {
	err = q.QueryRow(ctx, `SELECT t.typname::text FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
		WHERE a.attrelid = 'public.knowledge'::regclass AND a.attname = 'embedding' AND NOT a.attisdropped`).Scan(&name)
	return name, err
}

// PrepareEmbeddings makes ready for vectors of a model: the column becomes pgvector's type where the database has it and the column is still empty, and what another
// model has embedded is forgotten. It returns how many rows that were.
func (db *DB) PrepareEmbeddings(ctx context.Context, org record.UUID, model string) (forgotten int64, err error) {
	err = db.inTx(ctx, func(tx pgx.Tx) error {
		kind, err := vectorType(ctx, tx)
		if err != nil {
			return err
		}
		if kind == "_float4" {
			var there, used bool
			if err := tx.QueryRow(ctx, `SELECT to_regtype('vector') IS NOT NULL, EXISTS (SELECT FROM public.knowledge WHERE embedding IS NOT NULL)`).Scan(&there, &used); err != nil {
				return err
			}
			if there && !used {
				if _, err := tx.Exec(ctx, `ALTER TABLE public.knowledge ALTER COLUMN embedding TYPE vector USING embedding::vector`); err != nil {
					return err
				}
			}
		}
		tag, err := tx.Exec(ctx, `UPDATE public.knowledge SET embedding = NULL WHERE org_id = $1 AND embedding IS NOT NULL AND transcript_id IS NOT NULL
			AND EXISTS (SELECT FROM ingest.search_state s WHERE s.org_id = $1 AND s.embedding_model <> $2)`, org, model)
		if err != nil {
			return err
		}
		forgotten = tag.RowsAffected()
		_, err = tx.Exec(ctx, `INSERT INTO ingest.search_state (org_id, token, embedding_model) VALUES ($1, '', $2)
			ON CONFLICT (org_id) DO UPDATE SET embedding_model = excluded.embedding_model`, org, model)
		return err
	})
	return forgotten, wrap(ctx, err, "make ready for vectors")
}

// Unembedded returns the next rows without a vector, in the order of their ids. Parents have none: their children have.
func (db *DB) Unembedded(ctx context.Context, org, after record.UUID, limit int) ([]EmbedRow, error) {
	rows, err := db.pool.Query(ctx, `SELECT k.id, k.content, k.content_hash, coalesce(e.name, '') FROM public.knowledge k
			LEFT JOIN public.end_users e ON e.org_id = $1 AND e.id = k.end_user_id
		WHERE k.org_id = $1 AND k.id > $2 AND k.embedding IS NULL AND k.transcript_id IS NOT NULL AND k.kind <> 'parent' AND k.deleted_at IS NULL
		ORDER BY k.id LIMIT $3`, org, after, limit)
	if err != nil {
		return nil, wrap(ctx, err, "read what has no vector")
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r EmbedRow, err error) {
		err = row.Scan((*[16]byte)(&r.ID), &r.Content, &r.hash, &r.Name)
		return r, err
	})
	return list, wrap(ctx, err, "read what has no vector")
}

// Vectors returns what is kept under the keys.
func (db *DB) Vectors(ctx context.Context, org record.UUID, keys [][32]byte) (map[[32]byte][]float32, error) {
	list := make([][]byte, len(keys))
	for i := range keys {
		list[i] = keys[i][:]
	}
	rows, err := db.pool.Query(ctx, `SELECT key, vector FROM ingest.embeddings WHERE org_id = $1 AND key = ANY ($2)`, org, list)
	if err != nil {
		return nil, wrap(ctx, err, "read kept vectors")
	}
	found := make(map[[32]byte][]float32)
	var key []byte
	var vector []float32
	_, err = pgx.ForEachRow(rows, []any{&key, &vector}, func() error {
		if len(key) == 32 {
			found[[32]byte(key)] = vector
		}
		vector = nil
		return nil
	})
	return found, wrap(ctx, err, "read kept vectors")
}

// KeepVectors keeps vectors by what was embedded.
func (db *DB) KeepVectors(ctx context.Context, org record.UUID, keys [][32]byte, vectors [][]float32) error {
	err := db.inTx(ctx, func(tx pgx.Tx) error {
		batch := new(pgx.Batch)
		for i := range vectors {
			batch.Queue(`INSERT INTO ingest.embeddings (org_id, key, vector) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, org, keys[i][:], vectors[i])
		}
		return tx.SendBatch(ctx, batch).Close()
	})
	return wrap(ctx, err, "keep vectors")
}

// SetEmbeddings gives rows their vectors. A row that has changed since it was read keeps none.
func (db *DB) SetEmbeddings(ctx context.Context, org record.UUID, list []EmbedRow, vectors [][]float32) (set int64, err error) {
	err = db.inTx(ctx, func(tx pgx.Tx) error {
		kind, err := vectorType(ctx, tx)
		if err != nil {
			return err
		}
		cast := "::real[]"
		if kind != "_float4" {
			cast += "::vector"
		}
		set = 0
		batch := new(pgx.Batch)
		for i := range vectors {
			batch.Queue(`UPDATE public.knowledge SET embedding = $4`+cast+` WHERE org_id = $1 AND id = $2 AND content_hash IS NOT DISTINCT FROM $3`,
				org, list[i].ID, list[i].hash, vectors[i]).Exec(func(tag pgconn.CommandTag) error {
				set += tag.RowsAffected()
				return nil
			})
		}
		return tx.SendBatch(ctx, batch).Close()
	})
	return set, wrap(ctx, err, "store vectors")
}

// EmbeddingModel is the model whose vectors org has, "" if none.
func (db *DB) EmbeddingModel(ctx context.Context, org record.UUID) (model string, err error) {
	err = db.pool.QueryRow(ctx, `SELECT coalesce((SELECT embedding_model FROM ingest.search_state WHERE org_id = $1), '')`, org).Scan(&model)
	return model, wrap(ctx, err, "read which model the vectors are of")
}

// Fusing words and vectors. Vectors weaken what words find well, so they count only where the words of the best hit are less than this share of what
// was asked for, by weight; and then by ranks, since their scores cannot be compared.
const (
	fuseBelow  = 0.6
	fuseOffset = 60.0
	// Without pgvector each vector is compared one by one, so beyond so many conversations only those of a scope are.
	comparedOneByOne = 5000
	nearest          = 50
)

// near ranks conversations by the vector that is nearest to the query's.
func (s *search) near(ctx context.Context) ([]ranked, error) {
	kind, err := vectorType(ctx, s.tx)
	if err != nil {
		return nil, err
	}
	distance := `k.embedding <=> $4::real[]::vector`
	if kind == "_float4" {
		if s.documents > comparedOneByOne && s.q.EndUser.IsZero() && s.q.Company.IsZero() {
			return nil, nil
		}
		distance = `1 - (SELECT sum(a.x * a.y) FROM unnest(k.embedding, $4::real[]) AS a(x, y))`
	}
	endUser, company := s.scope()
	rows, err := s.tx.Query(ctx, `SELECT n.transcript_id, -min(n.distance) FROM (
			SELECT k.transcript_id, `+distance+` AS distance FROM public.knowledge k
			WHERE k.org_id = $1 AND k.embedding IS NOT NULL AND k.transcript_id IS NOT NULL AND k.deleted_at IS NULL
				AND ($2::uuid IS NULL OR k.end_user_id = $2) AND ($3::uuid IS NULL OR k.company_id = $3)
			ORDER BY distance LIMIT $5) AS n
		GROUP BY 1 ORDER BY 2 DESC, 1`, s.org, endUser, company, s.q.Vector, nearest)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r ranked, err error) {
		err = row.Scan((*[16]byte)(&r.id), &r.score)
		return r, err
	})
	if err != nil {
		return nil, fmt.Errorf("compare vectors: %w", err)
	}
	return list, nil
}

// fuse joins two rankings by reciprocal ranks.
func fuse(words, vectors []ranked, limit int) []ranked {
	scores := make(map[record.UUID]float64)
	var order []record.UUID
	for _, list := range [][]ranked{words, vectors} {
		for i, r := range list {
			if _, known := scores[r.id]; !known {
				order = append(order, r.id)
			}
			scores[r.id] += 1 / (fuseOffset + float64(i+1))
		}
	}
	list := make([]ranked, len(order))
	for i, id := range order {
		list[i] = ranked{id: id, score: scores[id]}
	}
	sortRanked(list)
	return list[:min(len(list), limit)]
}
