package postgres

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	mrand "math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"haloingest/pipeline"
)

// MinServerVersion is the oldest PostgreSQL major version that works: 14 brought lz4 for TOAST.
const MinServerVersion = 14

// Options configures Open. The zero value works.
type Options struct {
	Logger   *slog.Logger // nil: nothing is logged
	MaxConns int          // connections of the pool; 0: 4. A Lease has one more of its own.
	AppName  string       // application_name in pg_stat_activity; "": haloingest
	// RetryFor is how long a transaction that failed for a passing reason is tried again. 0: 15 s.
	RetryFor time.Duration
	// Settings are session settings on top of, or instead of, the usual ones; those of the URL go before both.
	Settings map[string]string
	// Tracer is told of what every session does, those of leases and sinks included; nil: nobody is.
	Tracer   pgx.QueryTracer
	Observer Observer
}

// Observer is told what happens, by the goroutine in which it happens. Its functions must be quick; those that are nil are not called.
type Observer struct {
	// Committed is called after a Sink has made a batch durable. (Not where a COMMIT whose answer was lost turns out to have been one.)
	Committed func(Committed)
	// TakenOver is called when a lease was taken of a holder that had not given it back: its process died, or was silent for too long.
	TakenOver func()
}

// Committed is what one transaction of a Sink has made durable. What it holds must not be kept or changed.
type Committed struct {
	Stream  string
	Counts  pipeline.Counts // see Sink
	Rejects int             // objects that were set aside, by any stage
	Waited  []time.Duration // of each webhook delivery that is done: from when it was received
}

// DB is the PostgreSQL database that holds Halo's tables and this program's own. It is safe for concurrent use.
//
// The URL must lead to PostgreSQL itself or to a pooler in session mode: a Lease is a session-level advisory lock, and
// the session's settings must stay with it.
type DB struct {
	pool    *pgxpool.Pool
	log     *slog.Logger
	session string // application_name of every session of this DB; unique to it
	retries time.Duration
	observe Observer
	timing  timing
	scoped  bool // see OpenScoped
}

// settings are what every session gets. The two timeouts bound what a process that was frozen in mid-transaction can hold
// up; plan_cache_mode keeps keyed lookups keyed on tables that were never analysed (performance.md, item 3).
var settings = map[string]string{
	"TimeZone":                            "UTC",
	"plan_cache_mode":                     "force_generic_plan",
	"statement_timeout":                   "10min",
	"lock_timeout":                        "30s",
	"idle_in_transaction_session_timeout": "60s",
	"standard_conforming_strings":         "on",
}

// optional settings are left out where the server does not know them: lz4 is a build option, and the connection check
// (which ends the statements of a killed client) depends on the server's platform.
var optional = map[string]string{
	"default_toast_compression":        "lz4",
	"client_connection_check_interval": "2s",
}

// Open connects to the database and checks that it can be worked with. It does not touch the schema; see Migrate. An error
// is ErrURL or ErrDatabase and names what to do; it never holds the password.
func Open(ctx context.Context, url string, o Options) (*DB, error) { return open(ctx, url, o, nil) }

// open is Open with what adjust makes of the pool.
func open(ctx context.Context, url string, o Options, adjust func(*pgxpool.Config)) (*DB, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		// The parser's message may quote the URL, and with it the password.
		return nil, fmt.Errorf("%w: want postgres://user:password@host:port/database or key=value pairs (%s)", ErrURL, parseReason(err))
	}
	db := &DB{log: o.Logger, retries: o.RetryFor, timing: usualTiming, observe: o.Observer}
	if db.log == nil {
		db.log = slog.New(slog.DiscardHandler)
	}
	if db.retries <= 0 {
		db.retries = 15 * time.Second
	}
	db.session = sessionName(o.AppName, config.ConnConfig.RuntimeParams["application_name"])
	given := config.ConnConfig.RuntimeParams
	wanted := maps.Clone(settings)
	maps.Copy(wanted, o.Settings)
	for name := range given {
		maps.DeleteFunc(wanted, func(k, _ string) bool { return strings.EqualFold(k, name) })
	}
	given["application_name"] = db.session
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = 10 * time.Second
	}
	config.ConnConfig.Tracer = o.Tracer
	config.MaxConns = int32(min(max(o.MaxConns, 0), math.MaxInt32))
	if config.MaxConns == 0 {
		config.MaxConns = 4
	}
	script := settingScript(wanted, given)
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.PgConn().Exec(ctx, script).ReadAll()
		return err
	}
	if adjust != nil {
		adjust(config)
	}
	if db.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, wrap(ctx, err, "open the database")
	}
	if err := db.check(ctx); err != nil {
		db.pool.Close()
		return nil, err
	}
	return db, nil
}

// Pool returns the connection pool, which stays the DB's own.
func (db *DB) Pool() *pgxpool.Pool { return db.pool }

// Close closes all connections after waiting for those in use. A Lease must be released before.
func (db *DB) Close() { db.pool.Close() }

func (db *DB) check(ctx context.Context) error {
	var text string
	err := db.pool.QueryRow(ctx, "SELECT current_setting('server_version_num')").Scan(&text)
	if err != nil {
		return wrap(ctx, err, "connect to the database")
	}
	version, err := strconv.Atoi(text)
	if err != nil || version < MinServerVersion*10000 {
		return &Error{Op: "connect to the database", Err: fmt.Errorf("the server is PostgreSQL %d.%d, at least %d is needed",
			version/10000, version%10000, MinServerVersion)}
	}
	return nil
}

// connect opens a session of its own, outside the pool and with the same settings.
func (db *DB) connect(ctx context.Context) (*pgx.Conn, error) {
	config := db.pool.Config()
	conn, err := pgx.ConnectConfig(ctx, config.ConnConfig)
	if err != nil {
		return nil, err
	}
	if err := config.AfterConnect(ctx, conn); err != nil {
		return nil, errors.Join(err, hangUp(ctx, conn))
	}
	return conn, nil
}

// hangUp closes a connection even where ctx has ended.
func hangUp(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return conn.Close(ctx)
}

// inTx runs f in one transaction, which is rolled back if f fails, also when that is because ctx has ended.
func (db *DB) inTx(ctx context.Context, f func(pgx.Tx) error) error {
	tx, err := db.pool.Begin(ctx)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		rollback(ctx, tx)
		return err
	}
	return tx.Commit(ctx)
}

// rollback ends a transaction that failed. Its own failure means that the connection is gone, and the transaction with it.
func rollback(ctx context.Context, tx pgx.Tx) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = tx.Rollback(ctx)
}

// retry calls f until it succeeds, fails for a reason that lasts (see Transient), or RetryFor has passed since its first
// failure. f must be a whole transaction that can be repeated after a COMMIT whose outcome is unknown.
func (db *DB) retry(ctx context.Context, op string, f func(context.Context) error) error {
	var deadline time.Time
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		err := f(ctx)
		if err == nil || ctx.Err() != nil || !Transient(err) {
			return err
		}
		if deadline.IsZero() {
			deadline = time.Now().Add(db.retries)
		}
		if time.Now().Add(pause).After(deadline) {
			return err
		}
		db.log.WarnContext(ctx, "database transaction failed, trying again", "op", op, "pause", pause, "error", err)
		if err := sleep(ctx, pause/2+mrand.N(pause)); err != nil {
			return err
		}
	}
}

// sleep waits for d, or until ctx is done, whose cause it then returns.
func sleep(ctx context.Context, d time.Duration) error {
	wait, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-wait.Done()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// sessionName makes an application_name that no other DB has, of 63 bytes at most and in ASCII: PostgreSQL changes any other.
func sessionName(names ...string) string {
	name := "haloingest"
	for _, n := range names {
		if n != "" {
			name = n
		}
	}
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, name)
	var mark [4]byte
	_, _ = rand.Read(mark[:]) // never fails
	return clip(name, 54) + " " + hex.EncodeToString(mark[:])
}

// settingScript is the SQL that a new session runs.
func settingScript(wanted, given map[string]string) string {
	var b strings.Builder
	b.WriteString("DO $set$ BEGIN ")
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		fmt.Fprintf(&b, "PERFORM set_config(%s, %s, false); ", literal(name), literal(wanted[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(optional)) {
		if _, ok := given[name]; ok {
			continue
		}
		if _, ok := wanted[name]; ok {
			continue
		}
		fmt.Fprintf(&b, "BEGIN PERFORM set_config(%s, %s, false); EXCEPTION WHEN OTHERS THEN NULL; END; ",
			literal(name), literal(optional[name]))
	}
	b.WriteString("END $set$")
	return b.String()
}

func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// parseReason is what is wrong with a URL, as far as it can be said without quoting it.
func parseReason(err error) string {
	text := err.Error()
	// pgx puts the reason last, in brackets or behind a colon, and the URL in backquotes before it.
	if i := strings.LastIndex(text, "`"); i >= 0 {
		text = text[i+1:]
	}
	for _, known := range []string{"invalid port", "invalid dsn", "sslmode", "service", "certificate", "invalid userinfo", "invalid host",
		"invalid connect_timeout", "invalid URL escape", "missing", "no such file"} {
		if strings.Contains(text, known) {
			return known
		}
	}
	return "it does not parse"
}

// clip cuts s to at most n bytes, at the end of a character.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n]
}
