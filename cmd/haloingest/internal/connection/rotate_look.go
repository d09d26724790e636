package connection

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/cmd/haloingest/internal/secret"
)

// States of a key.
const (
	KeyPrimary  = "primary"  // it seals, and opens
	KeyAdded    = "added"    // it will seal; a rotation is under way
	KeyOpens    = "opens"    // it has sealed; a rotation is under way
	KeyDisabled = "disabled" // it opens nothing, and is deleted after a while
)

// Key is what may be shown of a key.
type Key struct {
	ID          uint32    `json:"id"`
	State       string    `json:"state"`
	CreatedAt   time.Time `json:"created_at"`
	PrimaryAt   time.Time `json:"primary_at,omitzero"`
	DisabledAt  time.Time `json:"disabled_at,omitzero"`
	DeleteAfter time.Time `json:"delete_after,omitzero"`
	Secrets     int64     `json:"secrets"` // that are sealed with it
}

// Keys is what may be shown of the key set.
type Keys struct {
	MasterKey string `json:"master_key"`     // where the master key is that has sealed the set; "" if there is no set
	Old       bool   `json:"old_master_key"` // it is the old one
	Keys      []Key  `json:"keys"`           // oldest first
	Unknown   int64  `json:"unknown"`        // secrets that no key of the set has sealed
}

// Keys lists the keys and how many secrets each has sealed.
func (s *Store) Keys(ctx context.Context) (Keys, error) {
	out := Keys{Keys: []Key{}}
	err := pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if err := wholeView(ctx, tx); err != nil {
			return err
		}
		n, err := counts(ctx, tx)
		if err != nil {
			return err
		}
		known, err := notedKeys(ctx, tx)
		if err != nil {
			return err
		}
		var sealed []byte
		var since time.Time
		err = tx.QueryRow(ctx, `SELECT sealed, created_at FROM ingest.keysets WHERE id = 1`).Scan(&sealed, &since)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		if err == nil {
			k, err := s.master.Keyset(ctx, sealed)
			if err != nil {
				return err
			}
			out.MasterKey, out.Old = k.Origin()
			passed := false
			for _, x := range k.Keys() {
				key, ok := known[x.ID]
				if !ok {
					key = Key{CreatedAt: since.UTC(), PrimaryAt: since.UTC()}
				}
				key.ID, key.Secrets, key.State = x.ID, n[x.ID], KeyOpens
				switch {
				case x.Primary:
					key.State, passed = KeyPrimary, true
				case !x.Enabled:
					key.State = KeyDisabled
				case passed:
					key.State = KeyAdded
				}
				delete(n, x.ID)
				out.Keys = append(out.Keys, key)
			}
		}
		for _, left := range n {
			out.Unknown += left
		}
		return nil
	})
	if err != nil {
		return Keys{}, fmt.Errorf("list the keys: %w", err)
	}
	return out, nil
}

func notedKeys(ctx context.Context, db querier) (map[uint32]Key, error) {
	rows, err := db.Query(ctx, `SELECT key_id, created_at, primary_at, disabled_at, delete_after FROM ingest.keyset_keys`)
	if err != nil {
		return nil, err
	}
	found := map[uint32]Key{}
	var id int64
	var created time.Time
	var primary, disabled, after *time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &created, &primary, &disabled, &after}, func() error {
		k := Key{CreatedAt: created.UTC()}
		for at, to := range map[*time.Time]*time.Time{primary: &k.PrimaryAt, disabled: &k.DisabledAt, after: &k.DeleteAfter} {
			if at != nil {
				*to = at.UTC()
			}
		}
		found[uint32(id)] = k
		return nil
	})
	return found, err
}

// ErrNoKey is returned by EnableKey where there is no such key.
var ErrNoKey = errors.New("there is no such key")

// EnableKey lets a key open again that was disabled, for rows that were put back from a copy. The next Rotate seals them anew, and disables it.
func (s *Store) EnableKey(ctx context.Context, id uint32) error {
	_, err := s.changeKeys(ctx, func(k *secret.Keyset) (*secret.Keyset, error) {
		for _, key := range k.Keys() {
			switch {
			case key.ID == id && key.Enabled:
				return nil, nil
			case key.ID == id:
				return k.Enable(id)
			}
		}
		return nil, ErrNoKey
	}, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE ingest.keyset_keys SET disabled_at = NULL, delete_after = NULL WHERE key_id = $1`, int64(id))
		return err
	})
	if errors.Is(err, errNoKeyset) {
		err = ErrNoKey
	}
	if err != nil {
		return fmt.Errorf("enable key %d: %w", id, err)
	}
	return nil
}

// MasterChange is what ChangeMaster has done.
type MasterChange struct {
	From    string `json:"from"` // where the master key is that sealed the key set
	To      string `json:"to"`   // and where the one is that seals it now
	Changed bool   `json:"changed"`
}

// ChangeMaster seals the key set with the present master key, if the old one has sealed it. No secret is touched. Processes that know the old master key
// alone do not open anything from then on.
func (s *Store) ChangeMaster(ctx context.Context) (MasterChange, error) {
	var c MasterChange
	_, err := s.replaceKeys(ctx, func(sealed []byte) (*secret.Keyset, []byte, error) {
		k, again, err := s.master.Reseal(ctx, sealed)
		if err != nil {
			return nil, nil, err
		}
		c.From, c.Changed = k.Origin()
		c.To = c.From
		if c.Changed {
			c.To = s.master.Origin()
		}
		return k, again, nil
	}, nil)
	if errors.Is(err, errNoKeyset) {
		return MasterChange{}, nil
	}
	if err != nil {
		return MasterChange{}, fmt.Errorf("change the master key: %w", err)
	}
	return c, nil
}
