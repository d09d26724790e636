package access

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"haloingest/pipeline/record"
)

// CookieName is the name of the session's cookie where the service is reached by https: a browser takes it from this host alone. By plain http,
// which is for the machine itself, it goes without the prefix and Secure (see plainCookie): an ordinary HTTP client would not send it back.
const CookieName = "__Host-haloingest"

// plainCookie is its name by plain http. Chromium would keep a __Host- cookie of http://127.0.0.1, but that is Chromium's kindness.
const plainCookie = "haloingest"

// Keys of a session's values, all of which are texts.
const (
	keyUser   = "user"  // who is signed in
	keyEpoch  = "epoch" // of that user, when the session began
	keyNext   = "next"  // where to go after signing in
	keyLink   = "link"  // digest of the one-time link that is being used
	keyNotice = "notice"
	keyTone   = "tone"
	keyState  = "oidc_state"
	keyNonce  = "oidc_nonce"
	keyProof  = "oidc_verifier"
	keyStored = "stored" // it was read from the database: only what is still there is written back
)

// newSessions makes the manager. Its idle time-out is not used: it would write the session back after every request, and so bring
// one back that has been ended meanwhile. The store keeps to one instead.
func (g *Gate) newSessions(lifetime time.Duration) *scs.SessionManager {
	m := scs.New()
	m.Store, m.Codec, m.HashTokenInStore, m.Lifetime = g.store, textCodec{}, true, lifetime
	m.Cookie.Name, m.Cookie.Secure = plainCookie, false
	if g.o.Secure {
		m.Cookie.Name, m.Cookie.Secure = CookieName, true
	}
	m.Cookie.Path, m.Cookie.HttpOnly, m.Cookie.SameSite = "/", true, http.SameSiteLaxMode
	m.ErrorFunc = func(w http.ResponseWriter, r *http.Request, err error) {
		w.Header().Del("Set-Cookie")
		g.failed(w, r, err)
	}
	return m
}

// withSession gives a handler the session of who asks; whether anybody is signed in is the handler's to see.
func (g *Gate) withSession(h func(http.ResponseWriter, *http.Request)) http.Handler {
	return private(g.sessions.LoadAndSave(http.HandlerFunc(h)))
}

// claim says who somebody wants to be: by session, or by token.
type claim struct {
	user    record.UUID
	epoch   int64
	session string // digest of its token, as it is stored
	bearer  []byte // digest
}

// claimOf reads the claim of the session in ctx; the zero claim is nobody's.
func (g *Gate) claimOf(ctx context.Context) claim {
	user, err := record.ParseUUID(g.sessions.GetString(ctx, keyUser))
	if err != nil {
		return claim{}
	}
	epoch, err := strconv.ParseInt(g.sessions.GetString(ctx, keyEpoch), 10, 64)
	if err != nil {
		return claim{}
	}
	sum := sha256.Sum256([]byte(g.sessions.Token(ctx)))
	return claim{user: user, epoch: epoch, session: base64.RawURLEncoding.EncodeToString(sum[:])}
}

// begin makes the session in ctx that of a person, with another token than it had before.
func (g *Gate) begin(ctx context.Context, u User) error {
	next := g.sessions.GetString(ctx, keyNext)
	if err := g.sessions.RenewToken(ctx); err != nil {
		return fmt.Errorf("begin a session: %w", err)
	}
	if err := g.sessions.Clear(ctx); err != nil {
		return fmt.Errorf("begin a session: %w", err)
	}
	g.sessions.Put(ctx, keyUser, u.ID.String())
	g.sessions.Put(ctx, keyEpoch, strconv.FormatInt(u.epoch, 10))
	if next != "" {
		g.sessions.Put(ctx, keyNext, next)
	}
	return nil
}

// watch looks every now and then whether a claim still holds as it did, and cancels when it does not. The function that it returns ends that.
func (g *Gate) watch(ctx context.Context, c claim, was Identity, cancel context.CancelCauseFunc) (stop func()) {
	var timer *time.Timer
	ready := make(chan struct{})
	timer = time.AfterFunc(g.recheck, func() {
		<-ready
		if ctx.Err() != nil {
			return
		}
		asking, done := context.WithTimeout(ctx, 5*time.Second)
		now, err := g.users.identify(asking, c, g.store.idle)
		done()
		// While the database is away nothing is known, and there is nothing to see either.
		if err == nil && !covers(now, was) {
			cancel(errRevoked)
			return
		}
		timer.Reset(g.recheck)
	})
	close(ready)
	return func() { timer.Stop() }
}

var errRevoked = errors.New("who asked may not do so any more")

// covers reports whether an identity may still do all that it could.
func covers(now, was Identity) bool {
	if now.User != was.User || was.Overseer && !now.Overseer {
		return false
	}
	for org, role := range was.Roles {
		if now.Role(org) < role {
			return false
		}
	}
	return true
}

// textCodec writes a session as JSON.
type textCodec struct{}

type sessionText struct {
	Deadline time.Time         `json:"deadline"`
	Values   map[string]string `json:"values"`
}

func (textCodec) Encode(deadline time.Time, values map[string]any) ([]byte, error) {
	s := sessionText{deadline, make(map[string]string, len(values))}
	for k, v := range values {
		text, ok := v.(string)
		if !ok {
			return nil, fmt.Errorf("session value %s is a %T, not a text", k, v)
		}
		s.Values[k] = text
	}
	return json.Marshal(s)
}

func (textCodec) Decode(b []byte) (time.Time, map[string]any, error) {
	var s sessionText
	if err := json.Unmarshal(b, &s); err != nil {
		return time.Time{}, nil, fmt.Errorf("read a session: %w", err)
	}
	values := map[string]any{keyStored: "1"}
	for k, v := range s.Values {
		values[k] = v
	}
	return s.Deadline, values, nil
}

// sessionStore keeps sessions in ingest.sessions. The tokens that it is given are digests.
type sessionStore struct {
	pool *pgxpool.Pool
	idle time.Duration
}

// FindCtx returns a session that has not ended, and remembers about when it was used last.
func (s *sessionStore) FindCtx(ctx context.Context, token string) (data []byte, found bool, err error) {
	err = s.pool.QueryRow(ctx, `WITH s AS (
			SELECT data, seen_at FROM ingest.sessions WHERE token_hash = $1 AND expires_at > now() AND seen_at > now() - $2::interval),
		seen AS (UPDATE ingest.sessions SET seen_at = now() WHERE token_hash = $1 AND EXISTS (SELECT FROM s WHERE seen_at < now() - least($2::interval / 10, interval '1 minute')))
		SELECT data FROM s`, token, s.idle).Scan(&data)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read a session: %w", err)
	}
	return data, true, nil
}

// CommitCtx stores a session. One that was there, and has been ended while a request had it, stays ended.
func (s *sessionStore) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	var text sessionText
	err := json.Unmarshal(data, &text)
	var user record.UUID
	if id, ok := text.Values[keyUser]; ok && err == nil {
		user, err = record.ParseUUID(id)
	}
	if err != nil {
		return fmt.Errorf("store a session: %w", err)
	}
	sql := `INSERT INTO ingest.sessions (token_hash, user_id, data, expires_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (token_hash) DO UPDATE SET user_id = $2, data = $3, expires_at = $4, seen_at = now()`
	if text.Values[keyStored] != "" {
		sql = `UPDATE ingest.sessions SET user_id = $2, data = $3, expires_at = $4, seen_at = now() WHERE token_hash = $1`
	}
	if _, err = s.pool.Exec(ctx, sql, token, orNull(user), data, expiry); err != nil {
		return fmt.Errorf("store a session: %w", err)
	}
	return nil
}

// DeleteCtx ends a session.
func (s *sessionStore) DeleteCtx(ctx context.Context, token string) error {
	if _, err := s.pool.Exec(ctx, `DELETE FROM ingest.sessions WHERE token_hash = $1`, token); err != nil {
		return fmt.Errorf("end a session: %w", err)
	}
	return nil
}

// Find, Commit and Delete are what scs.Store asks for besides; the manager calls the ones above.
func (s *sessionStore) Find(token string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), token)
}

func (s *sessionStore) Commit(token string, data []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), token, data, expiry)
}

func (s *sessionStore) Delete(token string) error {
	return s.DeleteCtx(context.Background(), token)
}

var _ scs.CtxStore = (*sessionStore)(nil)

// sweep deletes what has ended long ago. It is called where somebody signs in, which is seldom.
func (s *sessionStore) sweep(ctx context.Context) error {
	for _, sql := range []string{
		`DELETE FROM ingest.sessions WHERE expires_at < now() OR seen_at < now() - $1::interval`,
		`DELETE FROM ingest.access_links WHERE expires_at < now() - interval '30 days' AND $1::interval IS NOT NULL`,
		`DELETE FROM ingest.login_limits WHERE at < now() - interval '1 day' AND $1::interval IS NOT NULL`,
	} {
		if _, err := s.pool.Exec(ctx, sql, s.idle); err != nil {
			return fmt.Errorf("sweep sessions: %w", err)
		}
	}
	return nil
}
