package access

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"

	"github.com/jackc/pgx/v5"
)

// bucket limits attempts to sign in: so many at once, and then so many a minute. All processes share it.
type bucket struct {
	key       string
	burst     float64
	perMinute float64
}

// bucketsOf are those that an attempt counts in. What comes from one address for one name is held tightly. All that is for one name is held loosely: so
// many addresses together cannot guess for long, and somebody elsewhere cannot lock a person out with a few attempts. Names are
// kept as digests: people type passwords where the name belongs.
func bucketsOf(name string, addr netip.Addr) [3]bucket {
	bits := 32
	if addr.Is6() {
		bits = 64 // one subscriber has all of it
	}
	from := "?"
	if p, err := addr.Prefix(bits); err == nil {
		from = p.String()
	}
	who := hex.EncodeToString(digest(nameKey(name)))
	return [3]bucket{{"both " + who + " " + from, 10, 1}, {"name " + who, 100, 1}, {"from " + from, 60, 10}}
}

// admit counts an attempt to sign in and says whether it may go on. It counts before the password is looked at, so that many attempts
// at once get no further than one after the other; what is refused does not count.
func (u *Users) admit(ctx context.Context, name string, addr netip.Addr) (bool, error) {
	var keys []string
	var bursts, rates []float64
	for _, b := range bucketsOf(name, addr) {
		keys, bursts, rates = append(keys, b.key), append(bursts, b.burst), append(rates, b.perMinute/60)
	}
	rows, err := u.pool.Query(ctx, `WITH k AS (SELECT * FROM unnest($1::text[], $2::float8[], $3::float8[]) AS k(key, burst, rate))
		INSERT INTO ingest.login_limits AS l (key, level) SELECT key, 1 FROM k ORDER BY key
		ON CONFLICT (key) DO UPDATE SET at = now(), (level, refused) = (
			SELECT CASE WHEN left_over + 1 <= k.burst THEN left_over + 1 ELSE left_over END, left_over + 1 > k.burst
			FROM k, LATERAL (SELECT greatest(0, l.level - extract(epoch FROM now() - l.at)::float8 * k.rate) AS left_over) x WHERE k.key = l.key)
		RETURNING refused`, keys, bursts, rates)
	if err != nil {
		return false, fmt.Errorf("count an attempt to sign in: %w", err)
	}
	ok := true
	var refused bool
	if _, err := pgx.ForEachRow(rows, []any{&refused}, func() error {
		ok = ok && !refused
		return nil
	}); err != nil {
		return false, fmt.Errorf("count an attempt to sign in: %w", err)
	}
	return ok, nil
}

// admitted takes back what an attempt that succeeded has counted: whoever has the password may come as often as they like.
func (u *Users) admitted(ctx context.Context, name string, addr netip.Addr) error {
	b := bucketsOf(name, addr)
	_, err := u.pool.Exec(ctx, `UPDATE ingest.login_limits SET level = CASE WHEN key = $3 THEN greatest(0, level - 1) ELSE 0 END WHERE key IN ($1, $2, $3)`, b[0].key, b[1].key, b[2].key)
	if err != nil {
		return fmt.Errorf("count a sign-in: %w", err)
	}
	return nil
}
