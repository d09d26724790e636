package connection

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/pipeline/record"
)

// How rotation stays safe. Whoever seals holds the key set's row (FOR SHARE) until the ciphertext is committed; whoever changes the key set has the
// table for itself, for a moment and without waiting for anything else. Whoever opens reads the key set with or after the ciphertext. So:
//
//   - a key that was added is known to everybody before it can seal anything: nobody seals or opens with a key set of his own;
//   - once the table is held, nothing is being sealed, and SQL can tell whether a key still has ciphertexts (they begin with its id). A key
//     is disabled, and deleted, in the transaction that has found none.
//
// The key set itself says how far a rotation is, since its keys stand in the order in which they were added: an enabled key after the primary one is
// new, one before it is to be left. So a rotation can end anywhere and be taken up by anybody, and two at once work on the same one.

// ErrPart says that a role that row-level security lets see some of the organisations only is to do what takes all: what it does not see
// it cannot seal again.
var ErrPart = errors.New("this role of the database sees some of the organisations only; want the owner of the tables")

// DefaultKeepOld is for how long a key is kept, disabled, when nothing is sealed with it any more.
const DefaultKeepOld = 24 * time.Hour

// RotateOptions are the options of Rotate. The zero value deletes the old key at once.
type RotateOptions struct {
	KeepOld time.Duration // for how long the old key is kept, disabled
	Log     *slog.Logger  // nil: silent
}

// Rotation is what a rotation has done.
type Rotation struct {
	Key        uint32    `json:"key"`     // that seals now; 0: there is no key set, since there is no secret
	Resumed    bool      `json:"resumed"` // a rotation was under way already, and was brought to its end
	Resealed   int64     `json:"resealed"`
	Disabled   []uint32  `json:"disabled"` // keys
	Deleted    []uint32  `json:"deleted"`
	Unreadable []Damaged `json:"unreadable"` // not empty: the key of these is left as it was
}

// Damaged is a ciphertext that no enabled key opens in its place.
type Damaged struct {
	Org    record.UUID `json:"org"`
	Column string      `json:"column"` // schema.table.column
	Key    uint32      `json:"key"`    // that it says to be of; 0: none
}

// Rotate gives the key set a new key, seals every secret with it, and disables the key before it. It can be stopped anywhere, and goes on where it stopped the
// next time; meanwhile everything opens. The error wraps ErrPart for a role that does not see all organisations.
func (s *Store) Rotate(ctx context.Context, o RotateOptions) (Rotation, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	r := Rotation{Disabled: []uint32{}, Deleted: []uint32{}, Unreadable: []Damaged{}}
	err := s.rotate(ctx, o, &r)
	if errors.Is(err, errNoKeyset) { // the last secret may have gone meanwhile, and the keys with it
		r.Key, err = 0, nil
	}
	if err != nil {
		return r, fmt.Errorf("rotate the keys: %w", err)
	}
	return r, nil
}

func (s *Store) rotate(ctx context.Context, o RotateOptions, r *Rotation) error {
	if err := wholeView(ctx, s.pool); err != nil {
		return err
	}
	deleted, err := s.prune(ctx)
	if err != nil {
		return err
	}
	r.Deleted = append(r.Deleted, deleted...)
	_, err = s.changeKeys(ctx, func(k *secret.Keyset) (*secret.Keyset, error) {
		later, earlier := around(k)
		if r.Resumed = len(later)+len(earlier) > 0; r.Resumed {
			return nil, nil
		}
		return k.Add()
	}, nil)
	if err != nil {
		return err
	}
	now, err := s.changeKeys(ctx, func(k *secret.Keyset) (*secret.Keyset, error) {
		later, _ := around(k)
		if len(later) == 0 {
			return nil, nil
		}
		return k.Promote(later[len(later)-1])
	}, nil)
	if err != nil {
		return err
	}
	r.Key = now.Primary()
	o.Log.Info("a new key seals from now on", "key", r.Key, "resumed", r.Resumed)
	for {
		r.Unreadable = r.Unreadable[:0]
		n, err := s.reseal(ctx, r)
		if err != nil {
			return err
		}
		o.Log.Info("secrets are sealed with it", "key", r.Key, "secrets", n, "unreadable", len(r.Unreadable))
		done, err := s.retire(ctx, o.KeepOld, r)
		if err != nil {
			return err
		}
		if done || n == 0 && len(r.Unreadable) > 0 {
			break
		}
	}
	if deleted, err = s.prune(ctx); err != nil {
		return err
	}
	r.Deleted = append(r.Deleted, deleted...)
	return nil
}

// around returns the enabled keys that were added after and before the primary one.
func around(k *secret.Keyset) (later, earlier []uint32) {
	passed := false
	for _, key := range k.Keys() {
		switch {
		case key.Primary:
			passed = true
		case key.Enabled && passed:
			later = append(later, key.ID)
		case key.Enabled:
			earlier = append(earlier, key.ID)
		}
	}
	return later, earlier
}

// reseal seals what another key than the primary one has sealed, row by row.
func (s *Store) reseal(ctx context.Context, r *Rotation) (n int64, err error) {
	sealed, err := keysets{s.pool, ""}.LoadKeyset(ctx)
	if err != nil {
		return 0, err
	}
	if sealed == nil {
		return 0, errNoKeyset
	}
	now, err := s.master.Keyset(ctx, sealed)
	if err != nil {
		return 0, err
	}
	prefix := secret.Prefix(now.Primary())
	for _, c := range sealedColumns {
		for after := ""; ; {
			list, err := c.foreign(ctx, s.pool, prefix, after)
			if err != nil {
				return n, err
			}
			for _, x := range list {
				done, opens, err := s.resealOne(ctx, c, x)
				if err != nil {
					return n, fmt.Errorf("seal %s.%s of %s again: %w", c.table, c.name, record.UUID(x.Org), err)
				}
				if done {
					n++
					r.Resealed++
				}
				if !opens {
					r.Unreadable = append(r.Unreadable, Damaged{x.Org, c.table + "." + c.name, keyID(x.Sealed)})
				}
			}
			if len(list) < page {
				break
			}
			after = list[len(list)-1].Owner
		}
	}
	return n, nil
}

// resealOne seals one ciphertext again, unless it has been replaced since it was read.
func (s *Store) resealOne(ctx context.Context, c column, x ciphertext) (done, opens bool, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		done, opens = false, true
		sealed, err := keysets{tx, "FOR SHARE"}.LoadKeyset(ctx)
		if err != nil || sealed == nil {
			return err // with the last secret the keys have gone
		}
		k, err := s.master.Keyset(ctx, sealed)
		if err != nil {
			return err
		}
		sealer, err := k.Sealer()
		if err != nil {
			return err
		}
		at := secret.Place{Table: c.table, Column: c.name, Org: x.Owner}
		text, err := sealer.Open(x.Sealed, at)
		if err != nil {
			// Its key may have been disabled since it was read; then it is not there any more.
			return tx.QueryRow(ctx, fmt.Sprintf(`SELECT NOT EXISTS (SELECT FROM %s WHERE org_id = $1 AND %s = $2)`, c.table, c.name), x.Org, x.Sealed).Scan(&opens)
		}
		again, err := sealer.Seal(text, at)
		if err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, fmt.Sprintf(`UPDATE %[1]s SET %[2]s = $3 WHERE org_id = $1 AND %[2]s = $2`, c.table, c.name), x.Org, x.Sealed, again)
		done = err == nil && tag.RowsAffected() > 0
		return err
	})
	return done, opens, err
}

// retire disables the keys before the primary one if nothing is sealed with them any more, and reports whether there is none left.
func (s *Store) retire(ctx context.Context, keep time.Duration, r *Rotation) (done bool, err error) {
	var old []uint32
	now, err := s.changeKeys(ctx, func(k *secret.Keyset) (*secret.Keyset, error) {
		_, old = around(k)
		if len(old) == 0 {
			return nil, nil
		}
		next := k
		for _, id := range old {
			var err error
			if next, err = next.Disable(id); err != nil {
				return nil, err
			}
		}
		return next, nil
	}, func(ctx context.Context, tx pgx.Tx) error {
		n, err := counts(ctx, tx)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(old, func(id uint32) bool { return n[id] > 0 }) {
			return errInUse
		}
		_, err = tx.Exec(ctx, `UPDATE ingest.keyset_keys SET disabled_at = now(), delete_after = now() + $2::interval WHERE key_id = ANY($1)`, wide(old), keep)
		return err
	})
	if errors.Is(err, errInUse) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	r.Key = now.Primary()
	r.Disabled = append(r.Disabled, old...)
	return true, nil
}

// PruneKeys deletes the disabled keys whose time is over, unless something is sealed with them after all. Sweep does so, too.
func (s *Store) PruneKeys(ctx context.Context) (deleted []uint32, err error) {
	err = wholeView(ctx, s.pool)
	if err == nil {
		deleted, err = s.prune(ctx)
	}
	if err != nil && !errors.Is(err, errNoKeyset) {
		return nil, fmt.Errorf("delete old keys: %w", err)
	}
	return deleted, nil
}

func (s *Store) prune(ctx context.Context) (gone []uint32, err error) {
	rows, err := s.pool.Query(ctx, `SELECT key_id FROM ingest.keyset_keys WHERE delete_after <= now()`)
	if err != nil {
		return nil, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	_, err = s.changeKeys(ctx, func(k *secret.Keyset) (*secret.Keyset, error) {
		gone = nil
		next := k
		for _, key := range k.Keys() {
			if key.Enabled || !slices.Contains(ids, int64(key.ID)) {
				continue
			}
			var err error
			if next, err = next.Delete(key.ID); err != nil {
				return nil, err
			}
			gone = append(gone, key.ID)
		}
		if len(gone) == 0 {
			return nil, nil
		}
		return next, nil
	}, func(ctx context.Context, tx pgx.Tx) error {
		n, err := counts(ctx, tx)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(gone, func(id uint32) bool { return n[id] > 0 }) {
			return errInUse // rows that were put back from a copy, say: see EnableKey
		}
		_, err = tx.Exec(ctx, `DELETE FROM ingest.keyset_keys WHERE key_id = ANY($1)`, wide(gone))
		return err
	})
	if errors.Is(err, errInUse) {
		return nil, nil
	}
	return gone, err
}

var (
	errNoKeyset = errors.New("there is no key set")
	errInUse    = errors.New("something is sealed with the key")
)

// changeKeys replaces the key set by what change makes of it, and returns the one that is there then; change returns nil to leave it. It is
// called again when somebody else was faster. also runs in the same transaction, while nothing is being sealed.
func (s *Store) changeKeys(ctx context.Context, change func(*secret.Keyset) (*secret.Keyset, error), also func(context.Context, pgx.Tx) error) (*secret.Keyset, error) {
	return s.replaceKeys(ctx, func(sealed []byte) (*secret.Keyset, []byte, error) {
		k, err := s.master.Keyset(ctx, sealed)
		if err != nil {
			return nil, nil, err
		}
		next, err := change(k)
		if err != nil || next == nil {
			return k, nil, err
		}
		again, err := next.Seal(ctx)
		return next, again, err
	}, also)
}

// replaceKeys is changeKeys on the sealed key set. The master key is used before the table is locked, since a KMS may take its time.
func (s *Store) replaceKeys(ctx context.Context, change func(sealed []byte) (*secret.Keyset, []byte, error), also func(context.Context, pgx.Tx) error) (*secret.Keyset, error) {
	for {
		sealed, err := keysets{s.pool, ""}.LoadKeyset(ctx)
		if err != nil {
			return nil, err
		}
		if sealed == nil {
			return nil, errNoKeyset
		}
		k, again, err := change(sealed)
		if err != nil || again == nil {
			return k, err
		}
		var done bool
		err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			if _, err := holdKeys(ctx, tx); err != nil {
				return err
			}
			tag, err := tx.Exec(ctx, `UPDATE ingest.keysets SET sealed = $1, updated_at = now() WHERE id = 1 AND sealed = $2`, again, sealed)
			if done = err == nil && tag.RowsAffected() == 1; !done {
				return err
			}
			if err := noteKeys(ctx, tx, k); err != nil || also == nil {
				return err
			}
			return also(ctx, tx)
		})
		if err != nil {
			return nil, err
		}
		if done {
			return k, nil
		}
	}
}

// noteKeys writes down since when each key is there, and seals.
func noteKeys(ctx context.Context, tx pgx.Tx, k *secret.Keyset) error {
	var ids []int64
	for i, key := range k.Keys() {
		ids = append(ids, int64(key.ID))
		_, err := tx.Exec(ctx, `INSERT INTO ingest.keyset_keys (key_id, created_at, primary_at)
			SELECT $1, CASE WHEN $2 THEN created_at ELSE now() END, CASE WHEN $2 THEN created_at WHEN $3 THEN now() END FROM ingest.keysets
			ON CONFLICT (key_id) DO UPDATE SET primary_at = coalesce(keyset_keys.primary_at, excluded.primary_at)`,
			int64(key.ID), i == 0, key.Primary)
		if err != nil {
			return fmt.Errorf("note key %d: %w", key.ID, err)
		}
	}
	_, err := tx.Exec(ctx, `DELETE FROM ingest.keyset_keys WHERE key_id <> ALL($1)`, ids)
	return err
}

// opening opens with a key set that was read in the same statement or snapshot as what it is to open: a key that is in use is in it.
func (s *Store) opening(ctx context.Context, sealed []byte) (*secret.Sealer, error) {
	if sealed == nil {
		return nil, fmt.Errorf("%w: %w, but there are secrets", secret.ErrMasterKey, errNoKeyset)
	}
	k, err := s.master.Keyset(ctx, sealed)
	if err != nil {
		return nil, err
	}
	return k.Sealer()
}

// keysetNow is SQL for the sealed key set.
const keysetNow = `(SELECT sealed FROM ingest.keysets WHERE id = 1)`

func wide(ids []uint32) []int64 {
	out := make([]int64, len(ids))
	for i, id := range ids {
		out[i] = int64(id)
	}
	return out
}
