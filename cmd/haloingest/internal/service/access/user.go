package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/text/unicode/norm"

	"haloingest/pipeline/record"
)

// User is a person who may sign in.
type User struct {
	ID          record.UUID          `json:"id"`
	Name        string               `json:"name"` // an e-mail address or a name; unique, whatever the case
	Overseer    bool                 `json:"overseer"`
	Disabled    bool                 `json:"disabled"`
	HasPassword bool                 `json:"has_password"`
	Roles       map[record.UUID]Role `json:"roles"`
	Sessions    int                  `json:"sessions"` // that have not ended
	CreatedAt   time.Time            `json:"created_at"`
	SignedInAt  time.Time            `json:"signed_in_at,omitzero"` // last; zero: never

	epoch int64
	hash  string
}

// MarshalText writes a role by its name.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// ErrNoUser says that there is no such person.
var ErrNoUser = errors.New("there is no such person")

// Users keeps people, what they may do, and how they prove who they are. What it changes it records (see Gate.Audit) in the same transaction, in
// the name of the identity in ctx. It is safe for concurrent use.
//
// Errors are *InputError for what a person can put right, ErrNoUser, or the database's.
type Users struct {
	pool   *pgxpool.Pool
	hasher *hasher
}

// NewUsers returns the people in a database whose schema is up to date. The pool must not be a scoped one.
func NewUsers(pool *pgxpool.Pool) *Users { return &Users{pool: pool, hasher: newHasher()} }

// nameKey is the same for all spellings of one name.
func nameKey(name string) string {
	return strings.ToLower(norm.NFKC.String(strings.Join(strings.Fields(name), " ")))
}

const maxName = 200 // bytes

func checkName(name string) (string, error) {
	name = strings.Join(strings.Fields(name), " ")
	switch {
	case name == "":
		return "", inputf("A name or an e-mail address is needed.")
	case len(name) > maxName || !utf8.ValidString(name):
		return "", inputf("The name is too long: at most %d bytes are possible.", maxName)
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsGraphic(r) }):
		return "", inputf("The name holds characters that cannot be seen.")
	}
	return norm.NFC.String(name), nil
}

func newID() (id record.UUID) {
	_, _ = rand.Read(id[:]) // never fails
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id
}

// newToken is 256 random bits, as text, and the digest under which they are stored.
func newToken(prefix string) (token string, stored []byte) {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	token = prefix + base64.RawURLEncoding.EncodeToString(b[:])
	return token, digest(token)
}

// digest is enough for what is random; passwords take argon2id.
func digest(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

// peopleLock is the advisory lock of who changes people ("hi people" in ASCII). They do so seldom, and one after the other: so the last
// overseer cannot go in two halves.
const peopleLock = 0x68692070656f706c

// inTx runs f in a transaction and says what it was for.
func (u *Users) inTx(ctx context.Context, what string, f func(pgx.Tx) error) error {
	err := pgx.BeginFunc(ctx, u.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(peopleLock)); err != nil {
			return err
		}
		return f(tx)
	})
	var input *InputError
	if err == nil || errors.As(err, &input) || errors.Is(err, ErrNoUser) {
		return err
	}
	return fmt.Errorf("%s: %w", what, err)
}

const userColumns = `u.id, u.name, u.overseer, u.disabled_at IS NOT NULL, coalesce(u.password_hash, ''), u.epoch, u.created_at, u.signed_in_at, m.orgs, m.roles,
	(SELECT count(*) FROM ingest.sessions s WHERE s.user_id = u.id AND s.expires_at > now())
	FROM ingest.users u CROSS JOIN LATERAL (SELECT coalesce(array_agg(org_id), '{}'), coalesce(array_agg(role), '{}') FROM ingest.memberships WHERE user_id = u.id) m(orgs, roles)`

func scanUser(row pgx.CollectableRow) (x User, err error) {
	var in *time.Time
	var orgs [][16]byte
	var roles []string
	err = row.Scan((*[16]byte)(&x.ID), &x.Name, &x.Overseer, &x.Disabled, &x.hash, &x.epoch, &x.CreatedAt, &in, &orgs, &roles, &x.Sessions)
	if err != nil {
		return x, err
	}
	x.HasPassword, x.CreatedAt = x.hash != "", x.CreatedAt.UTC()
	if in != nil {
		x.SignedInAt = in.UTC()
	}
	x.Roles, err = rolesOf(orgs, roles)
	return x, err
}

func rolesOf(orgs [][16]byte, names []string) (map[record.UUID]Role, error) {
	roles := make(map[record.UUID]Role, len(orgs))
	for i, org := range orgs {
		role, err := ParseRole(names[i])
		if err != nil {
			return nil, err
		}
		roles[org] = role
	}
	return roles, nil
}

func (u *Users) list(ctx context.Context, q interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}, where string, args ...any) ([]User, error) {
	rows, err := q.Query(ctx, `SELECT `+userColumns+` `+where, args...)
	if err != nil {
		return nil, fmt.Errorf("list people: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanUser)
	if err != nil {
		return nil, fmt.Errorf("list people: %w", err)
	}
	return list, nil
}

// List returns everybody, by name.
func (u *Users) List(ctx context.Context) ([]User, error) {
	return u.list(ctx, u.pool, `ORDER BY u.name_key`)
}

// Members returns who has a role in an organisation, by name.
func (u *Users) Members(ctx context.Context, org record.UUID) ([]User, error) {
	return u.list(ctx, u.pool, `WHERE EXISTS (SELECT FROM ingest.memberships WHERE user_id = u.id AND org_id = $1) ORDER BY u.name_key`, org)
}

// Find returns the person of that name, in any spelling of it, or ErrNoUser.
func (u *Users) Find(ctx context.Context, name string) (User, error) {
	list, err := u.list(ctx, u.pool, `WHERE u.name_key = $1`, nameKey(record.CleanText(name)))
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("%q: %w", name, ErrNoUser)
	}
	if err != nil {
		return User{}, err
	}
	return list[0], nil
}

// Get returns a person by id, or ErrNoUser.
func (u *Users) Get(ctx context.Context, id record.UUID) (User, error) {
	list, err := u.list(ctx, u.pool, `WHERE u.id = $1`, id)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("%s: %w", id, ErrNoUser)
	}
	if err != nil {
		return User{}, err
	}
	return list[0], nil
}

// Empty reports whether there is nobody at all.
func (u *Users) Empty(ctx context.Context) (empty bool, err error) {
	if err := u.pool.QueryRow(ctx, `SELECT NOT EXISTS (SELECT FROM ingest.users)`).Scan(&empty); err != nil {
		return false, fmt.Errorf("look for people: %w", err)
	}
	return empty, nil
}

// identify returns who a claim is of, or nobody: the claim may be mistaken, or have ended.
func (u *Users) identify(ctx context.Context, c claim, idle time.Duration) (Identity, error) {
	var row pgx.Row
	const columns = `SELECT u.id, u.name, u.overseer, m.orgs, m.roles FROM ingest.users u
		CROSS JOIN LATERAL (SELECT coalesce(array_agg(org_id), '{}'), coalesce(array_agg(role), '{}') FROM ingest.memberships WHERE user_id = u.id) m(orgs, roles)
		WHERE u.disabled_at IS NULL AND `
	switch {
	case c.bearer != nil:
		row = u.pool.QueryRow(ctx, `WITH t AS (SELECT id, user_id, used_at FROM ingest.access_tokens WHERE token_hash = $1 AND revoked_at IS NULL),
			used AS (UPDATE ingest.access_tokens SET used_at = now() WHERE id = (SELECT id FROM t WHERE used_at IS NULL OR used_at < now() - interval '1 minute'))
			`+columns+`u.id = (SELECT user_id FROM t)`, c.bearer)
	case !c.user.IsZero():
		row = u.pool.QueryRow(ctx, columns+`u.id = $1 AND u.epoch = $2 AND EXISTS (SELECT FROM ingest.sessions s
			WHERE s.token_hash = $3 AND s.user_id = u.id AND s.expires_at > now() AND s.seen_at > now() - $4::interval)`, c.user, c.epoch, c.session, idle)
	default:
		return Identity{}, nil
	}
	var who Identity
	var orgs [][16]byte
	var roles []string
	err := row.Scan((*[16]byte)(&who.User), &who.Name, &who.Overseer, &orgs, &roles)
	if errors.Is(err, pgx.ErrNoRows) {
		return Identity{}, nil
	}
	if err == nil {
		who.Roles, err = rolesOf(orgs, roles)
	}
	if err != nil {
		return Identity{}, fmt.Errorf("find out who asks: %w", err)
	}
	return who, nil
}

// Organisations are those in which an identity has a role; of an overseer, all that are or were connected or that somebody has a role in.
func (u *Users) Organisations(ctx context.Context, who Identity) ([]record.UUID, error) {
	rows, err := u.pool.Query(ctx, `SELECT org_id FROM ingest.memberships WHERE user_id = $1 OR $2
		UNION SELECT org_id FROM ingest.connections WHERE $2 ORDER BY 1`, who.User, who.Overseer)
	if err != nil {
		return nil, fmt.Errorf("list organisations: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (id record.UUID, err error) {
		return id, row.Scan((*[16]byte)(&id))
	})
	if err != nil {
		return nil, fmt.Errorf("list organisations: %w", err)
	}
	return list, nil
}
