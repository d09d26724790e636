package connection

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/pipeline/record"
	"haloingest/sources/webhook"
)

// Keyring knows what the deliveries of all organisations are checked with. All connections are read together, every few seconds while somebody
// asks: so that an organisation which is not there costs the database nothing, and takes as long to be told as one that is. Secrets
// are opened once, and kept in memory. It is safe for concurrent use.
type Keyring struct {
	store *Store
	log   *slog.Logger

	mu   sync.Mutex
	at   time.Time // when known was read
	fail time.Time // when reading it failed last
	err  error
	held map[record.UUID]ring
}

// ring is what is kept of one organisation.
type ring struct {
	keys          webhook.Keys
	until         time.Time // of the second secret
	sealed, older []byte    // what the secrets were opened from
}

const (
	keysLast  = 2 * time.Second        // what is known is read again after it
	keysFresh = 250 * time.Millisecond // and, where a signature did not fit, after this
)

// NewKeyring returns a keyring over the store's connections. A secret that cannot be opened is logged; its organisation has none.
func NewKeyring(s *Store, log *slog.Logger) *Keyring { return &Keyring{store: s, log: log} }

// Keys implements webhook.Keyring. While the database cannot be reached, what was known last holds.
func (k *Keyring) Keys(ctx context.Context, org record.UUID, fresh bool) (webhook.Keys, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	last := keysLast
	if fresh {
		last = keysFresh
	}
	if now := time.Now(); now.Sub(k.at) > last && now.Sub(k.fail) > keysFresh {
		// Not the request's context: the others wait for this one.
		reading, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		held, err := k.read(reading)
		cancel()
		if err == nil {
			k.held, k.at, k.err = held, now, nil
		} else {
			k.fail, k.err = now, err
		}
	}
	if k.held == nil {
		return webhook.Keys{}, k.err
	}
	r := k.held[org]
	keys := r.keys
	if len(keys.Secrets) > 1 && !time.Now().Before(r.until) {
		keys.Secrets = keys.Secrets[:1]
	}
	return keys, nil
}

// read reads all connections that have a secret and opens those that are new, with the key set of the same snapshot.
func (k *Keyring) read(ctx context.Context) (held map[record.UUID]ring, err error) {
	o := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err = pgx.BeginTxFunc(ctx, k.store.pool, o, func(tx pgx.Tx) error {
		if held, err = k.readTx(ctx, tx); err != nil {
			return err
		}
		return k.unseal(ctx, tx, held)
	})
	if err != nil {
		return nil, fmt.Errorf("read the webhook secrets: %w", err)
	}
	return held, nil
}

func (k *Keyring) readTx(ctx context.Context, tx pgx.Tx) (map[record.UUID]ring, error) {
	rows, err := tx.Query(ctx, `SELECT org_id, workspace_id, ingest_enabled, webhook_secret, webhook_secret_previous,
			coalesce(webhook_secret_previous_until, '-infinity') > clock_timestamp(),
			extract(epoch FROM coalesce(webhook_secret_previous_until, clock_timestamp()) - clock_timestamp())::float8
		FROM ingest.connections WHERE webhook_secret IS NOT NULL AND token IS NOT NULL`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	held := make(map[record.UUID]ring)
	for rows.Next() {
		var org [16]byte
		var r ring
		var enabled, two bool
		var left float64
		if err := rows.Scan(&org, &r.keys.Workspace, &enabled, &r.sealed, &r.older, &two, &left); err != nil {
			return nil, err
		}
		r.keys.Off = !enabled
		if !two {
			r.older = nil
		}
		r.until = time.Now().Add(time.Duration(left * float64(time.Second))) // by this machine's clock, which need not be the server's
		held[org] = r
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return held, nil
}

func (k *Keyring) unseal(ctx context.Context, tx pgx.Tx, held map[record.UUID]ring) error {
	var sealer *secret.Sealer
	for org, r := range held {
		if old, ok := k.held[org]; ok && bytes.Equal(old.sealed, r.sealed) && bytes.Equal(old.older, r.older) {
			r.keys.Secrets = old.keys.Secrets
			held[org] = r
			continue
		}
		if sealer == nil {
			keys, err := keysets{tx, ""}.LoadKeyset(ctx)
			if err != nil {
				return err
			}
			if sealer, err = k.store.opening(ctx, keys); err != nil {
				return err
			}
		}
		for _, x := range []struct {
			column string
			sealed []byte
		}{{"webhook_secret", r.sealed}, {previousSecret, r.older}} {
			if x.sealed == nil {
				continue
			}
			text, err := sealer.Open(x.sealed, place(org, x.column))
			if err != nil {
				k.log.Error("a webhook secret cannot be opened; what it signs is refused", "org", org.String(), "column", x.column, "error", err)
				break // the one before must not take the place of the present one, for good
			}
			r.keys.Secrets = append(r.keys.Secrets, []byte(text.Reveal()))
		}
		held[org] = r
	}
	return nil
}

var _ webhook.Keyring = (*Keyring)(nil)
