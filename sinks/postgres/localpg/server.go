package localpg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// DefaultDataDir is the data directory when Options names none.
const DefaultDataDir = ".haloingest"

const (
	role     = "haloingest" // the only role, a superuser
	database = "haloingest" // made on the first start
)

// Options of Start. The zero value is a durable server in DefaultDataDir.
type Options struct {
	DataDir string       // the server's files are kept in its folder "postgres"; made if it is not there
	Log     *slog.Logger // says what is started and stopped; nil is silent

	// Throwaway is for tests: quick instead of durable, more connections, and a cluster that does not start is made anew instead of
	// being an error.
	Throwaway bool

	Settings     map[string]string // further server parameters, taken when this call is the one that starts the server
	StartTimeout time.Duration     // crash recovery included; 0 is 5 minutes
	StopTimeout  time.Duration     // after which a shutdown in order becomes an immediate one; 0 is 30 seconds
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.StartTimeout <= 0 {
		o.StartTimeout = 5 * time.Minute
	}
	if o.StopTimeout <= 0 {
		o.StopTimeout = 30 * time.Second
	}
	return o
}

// Server is this process's use of a private PostgreSQL. Its methods may be called by several goroutines at once.
type Server struct {
	opts     Options
	layout   layout
	as       account
	use      *lockFile
	password string
	pm       postmaster
	adopted  bool
}

// Start returns the running private PostgreSQL of the data directory: it attaches to the one that runs, or starts it, or makes it.
// The caller ends its use with Close; without that it ends with the process. The error wraps ErrNotFound when the machine has no PostgreSQL to run.
func Start(ctx context.Context, opts Options) (*Server, error) {
	opts = opts.withDefaults()
	ctx, cancel := context.WithTimeout(ctx, opts.StartTimeout)
	defer cancel()
	l, err := newLayout(opts.DataDir)
	if err != nil {
		return nil, err
	}
	s, err := start(ctx, opts, l)
	if err != nil {
		return nil, fmt.Errorf("start the private PostgreSQL in %s: %w", l.dir, err)
	}
	return s, nil
}

func start(ctx context.Context, opts Options, l layout) (_ *Server, err error) {
	startLock, err := openLock(l.startLock())
	if err != nil {
		return nil, explain(err, l.dir)
	}
	defer func() { err = errors.Join(err, startLock.release()) }()
	if err := startLock.wait(ctx, syscall.LOCK_EX); err != nil {
		return nil, err
	}

	s := &Server{opts: opts, layout: l}
	if s.password, err = l.readPassword(); err != nil {
		return nil, err
	}
	if s.as, err = serverAccount(l.cluster()); err != nil {
		return nil, err
	}
	if s.use, err = openLock(l.useLock()); err != nil {
		return nil, explain(err, l.dir)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.use.release())
		}
	}()
	// Nobody can hold it exclusively but for the blink of InUse, as whoever stops a server holds start.lock.
	if err := s.use.wait(ctx, syscall.LOCK_SH); err != nil {
		return nil, err
	}

	err = s.attachOrRun(ctx)
	if err != nil && opts.Throwaway && ctx.Err() == nil && !errors.Is(err, ErrNotFound) {
		opts.Log.Warn("making the private PostgreSQL anew, as the old one does not start", "error", err)
		if err = s.discard(); err == nil {
			err = s.attachOrRun(ctx)
		}
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// URL is the connection string over the Unix socket. It holds the password: it must not be logged.
func (s *Server) URL() string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(role, s.password), Path: "/" + database}
	q := url.Values{"host": {s.pm.socket}, "port": {strconv.Itoa(s.pm.port)}, "sslmode": {"disable"}}
	u.RawQuery = q.Encode()
	return u.String()
}

// TCPURL is the connection string over 127.0.0.1, for programs that cannot use a Unix socket. It holds the password: it must not be
// logged.
func (s *Server) TCPURL() string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(role, s.password), Path: "/" + database, RawQuery: "sslmode=disable"}
	u.Host = "127.0.0.1:" + strconv.Itoa(s.pm.port)
	return u.String()
}

// Dir is the folder with the server's files.
func (s *Server) Dir() string { return s.layout.dir }

// LogPath is the file that the server logs to.
func (s *Server) LogPath() string { return s.layout.log() }

// PID is the process id of the server as it was when Start returned.
func (s *Server) PID() int { return s.pm.pid }

// Alive says whether that server process still runs.
func (s *Server) Alive() bool { return alive(s.pm.pid) }

// Adopted says that the server was running when Start was called, for another process or left behind by one that was killed.
func (s *Server) Adopted() bool { return s.adopted }

// Close ends this process's use of the server and stops it if nobody else uses it. Connections that are still open are broken off
// then; transactions in flight are rolled back, and nothing committed is lost. Further calls do nothing.
func (s *Server) Close() error {
	if !s.use.open() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*s.opts.StopTimeout+s.opts.StartTimeout)
	defer cancel()
	_, err := stopIfLast(ctx, s.opts, s.layout, s.as, s.use)
	if err != nil {
		return fmt.Errorf("stop the private PostgreSQL in %s: %w", s.layout.dir, err)
	}
	return nil
}

// StopUnused stops the server of the data directory if it runs and no process uses it, as is the case after its last user was
// killed. It says whether nobody uses it, so that the server is down now.
func StopUnused(ctx context.Context, opts Options) (bool, error) {
	opts = opts.withDefaults()
	l, err := newLayout(opts.DataDir)
	if err != nil {
		return false, err
	}
	as, err := serverAccount(l.cluster())
	if err != nil {
		return false, err
	}
	use, err := openLock(l.useLock())
	if err != nil {
		return false, explain(err, l.dir)
	}
	return stopIfLast(ctx, opts, l, as, use)
}

// InUse says whether any process uses the server of the data directory at this moment.
func InUse(dataDir string) (bool, error) {
	l, err := newLayout(dataDir)
	if err != nil {
		return false, err
	}
	use, err := openLock(l.useLock())
	if err != nil {
		return false, explain(err, l.dir)
	}
	ok, err := use.try(syscall.LOCK_EX)
	return !ok, errors.Join(err, use.release())
}

// stopIfLast releases use, and stops the server before that if no other process holds the lock. It says whether none did.
func stopIfLast(ctx context.Context, opts Options, l layout, as account, use *lockFile) (last bool, err error) {
	defer func() { err = errors.Join(err, use.release()) }()
	startLock, err := openLock(l.startLock())
	if err != nil {
		return false, explain(err, l.dir)
	}
	defer func() { err = errors.Join(err, startLock.release()) }()
	if err := startLock.wait(ctx, syscall.LOCK_EX); err != nil {
		return false, err
	}
	// Converting a flock drops it first, which is safe here: whoever wants to use the server waits for start.lock.
	if last, err = use.try(syscall.LOCK_EX); err != nil || !last {
		return false, err
	}
	return true, stop(ctx, opts, l)
}

// stop shuts down the server that runs, if one does. The caller holds start.lock.
func stop(ctx context.Context, opts Options, l layout) error {
	pm, ok, err := readPostmaster(l.cluster())
	if err != nil || !ok || !serves(ctx, pm.pid, l.cluster()) {
		return err
	}
	return end(ctx, opts, l, pm.pid)
}

// end shuts server process pid down: in order, and if that takes longer than the timeout, at once, which costs the next start a
// recovery but no data.
func end(ctx context.Context, opts Options, l layout, pid int) error {
	opts.Log.Debug("stopping the private PostgreSQL", "pid", pid)
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{
		{syscall.SIGINT, opts.StopTimeout},  // "fast": roll back, write a checkpoint, end
		{syscall.SIGQUIT, 10 * time.Second}, // "immediate"
	} {
		if !alive(pid) {
			return nil
		}
		if err := syscall.Kill(pid, step.signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("signal server process %d: %w", pid, err)
		}
		wait, cancel := context.WithTimeout(ctx, step.wait)
		for p := (poll{}); alive(pid); {
			if p.pause(wait) != nil {
				break
			}
		}
		cancel()
		if !alive(pid) {
			return nil
		}
		opts.Log.Warn("the private PostgreSQL has not stopped", "pid", pid, "signal", step.signal.String(), "waited", step.wait)
	}
	return fmt.Errorf("server process %d has not ended; its log %s ends: %s", pid, l.log(), logTail(l.log(), 0))
}

// discard removes the cluster and what belongs to it. The caller holds start.lock.
func (s *Server) discard() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*s.opts.StopTimeout)
	defer cancel()
	if err := stop(ctx, s.opts, s.layout); err != nil {
		return err
	}
	var errs []error
	for _, link := range []string{s.layout.cluster(), s.layout.sockets()} {
		if target, err := os.Readlink(link); err == nil {
			errs = append(errs, os.RemoveAll(target))
		}
		errs = append(errs, os.RemoveAll(link))
	}
	if err := os.Remove(s.layout.password()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	var err error
	if s.as, err = serverAccount(s.layout.cluster()); err != nil {
		return err
	}
	s.password, err = s.layout.readPassword()
	return err
}

// connect opens a connection to one of the server's databases.
func (s *Server) connect(ctx context.Context, name string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(s.URL())
	if err != nil {
		return nil, err
	}
	config.Database = name
	return pgx.ConnectConfig(ctx, config)
}

// clusterHome is the folder that the cluster really lies in.
func (l layout) clusterHome() (string, error) {
	real, err := filepath.EvalSymlinks(l.cluster())
	if err != nil {
		return "", err
	}
	dir, err := filepath.EvalSymlinks(l.dir)
	if err != nil {
		return "", err
	}
	if home := filepath.Dir(real); home != dir {
		return home, nil
	}
	return l.dir, nil
}
