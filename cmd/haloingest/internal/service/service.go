package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/cmd/haloingest/internal/onboard"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/cmd/haloingest/internal/service/access"
	"haloingest/cmd/haloingest/internal/service/metric"
	"haloingest/cmd/haloingest/internal/service/site"
	"haloingest/cmd/haloingest/internal/service/work"
	"haloingest/sinks/postgres"
	"haloingest/sources/intercom"
	"haloingest/sources/webhook"
)

// ErrAborted says that the service was ended at once, and not in order.
var ErrAborted = errors.New("serving was aborted; what was accepted and what was committed is there")

// Connections of the three pools. Each has work that must not wait for that of the others.
const (
	connsMain  = 4 // beside those of the workers
	connsPages = 8
	connsFront = 6 // webhooks, who is signed in, readiness
)

// attemptsOfPeople are at a request to Intercom that somebody waits for.
const attemptsOfPeople = 3

// Run serves until read is done, and then ends in order; when ctx is done, it ends at once, with ErrAborted. read is a child of ctx. What keeps
// it from starting is a *SettingError, a *ListenError, or what the database, the master key or a part says.
func Run(ctx, read context.Context, c Config) error {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Listen == "" {
		c.Listen = DefaultListen
	}
	if err := c.Validate(); err != nil {
		return err
	}
	s := &service{Config: c, log: c.Log}
	defer s.close()
	if err := s.open(read); err != nil {
		if ctx.Err() == nil && read.Err() != nil {
			return nil // asked to end before it had begun
		}
		return err
	}
	return s.serve(ctx, read)
}

// service is the parts of one process.
type service struct {
	Config
	log     *slog.Logger
	closers []func() // in the order of opening

	main, figures *server // figures is nil without a listener of its own
	public        string  // where people reach it

	tracer  *metric.Tracer
	metrics *metric.Metrics

	db, pages, front *postgres.DB
	queue            *work.Queue
	crew             *crew
	gate             *access.Gate
	site             *site.Site
	hooks            *webhook.Handler
	secrets          *connection.Store // over front
	ready            *readiness
	routes           []access.Route
	handler          http.Handler
	metricsURL       string // "": figures are not served
}

func (s *service) onClose(f func()) { s.closers = append(s.closers, f) }

func (s *service) close() {
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
}

// open opens the parts, each before those that need it. Addresses come first: that one is taken is found before anything else is touched.
func (s *service) open(ctx context.Context) error {
	for _, step := range []func(context.Context) error{s.openListeners, s.openMetrics, s.openDatabase, s.openParts, s.openRoutes} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *service) openListeners(ctx context.Context) (err error) {
	var cert *certificate
	if s.CertFile != "" {
		if cert, err = openCertificate(s.CertFile, s.KeyFile, s.log); err != nil {
			return &SettingError{"tls-cert", s.CertFile, err.Error()}
		}
	}
	if s.main, err = listen(ctx, s.Listen, cert); err != nil {
		return err
	}
	s.onClose(func() { _ = s.main.listener.Close() }) // closed already, if it has served
	if s.MetricsListen != "" {
		if s.figures, err = listen(ctx, s.MetricsListen, nil); err != nil {
			return err
		}
		s.onClose(func() { _ = s.figures.listener.Close() })
	}
	var secure bool
	if s.public, secure = s.reached(s.main.url); !secure && (!isLoopback(s.main.listener) || !loopbackHost(hostOf(s.public))) {
		s.log.Warn("people reach this service by plain http, so passwords and cookies travel in clear; give --tls-cert and --tls-key, or put a proxy in front and name it with --public-url https://...", "url", s.public)
	}
	return nil
}

func (s *service) openMetrics(ctx context.Context) (err error) {
	s.tracer, err = metric.Tracing(ctx, metric.TracingOptions{Endpoint: s.TraceEndpoint, Version: s.Version, Log: s.log})
	if err != nil {
		return &SettingError{"trace-endpoint", s.TraceEndpoint, err.Error()}
	}
	s.onClose(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.tracer.Shutdown(ctx); err != nil {
			s.log.Warn("the last traces are lost", "error", err)
		}
	})
	s.metrics = metric.New(metric.Options{Version: s.Version, Log: s.log, Tracer: s.tracer})
	return nil
}

func (s *service) openDatabase(ctx context.Context) (err error) {
	options := func(name string, conns int) postgres.Options {
		return postgres.Options{Logger: s.log, AppName: name, MaxConns: conns, Tracer: s.tracer.Queries(), Observer: s.metrics.Observer()}
	}
	if s.db, err = postgres.Open(ctx, s.Database, options("haloingest serve", connsMain+s.Work.Conns())); err != nil {
		return err
	}
	s.onClose(s.db.Close)
	applied, err := s.db.Migrate(ctx)
	if err != nil {
		return err
	}
	if len(applied) > 0 {
		s.log.Info("brought the database schema up to date", "migrations", len(applied))
	}
	// Who looks at a page, and who sends a webhook, is told at once that the database is away.
	o := options("haloingest pages", connsPages)
	o.RetryFor, o.Settings = time.Second, map[string]string{"statement_timeout": "20s", "lock_timeout": "5s"}
	// Where this role may not build the second wall, the first one stands: the gate, and the condition of every query.
	missing, err := s.db.Wall(ctx)
	if err != nil {
		return err
	}
	openPages := postgres.OpenScoped
	if len(missing) > 0 {
		s.log.Warn("the database does not keep organisations apart; pages do so by themselves until an administrator has run this SQL and the service is started again",
			"sql", strings.Join(missing, "; "))
		openPages = postgres.Open
	}
	if s.pages, err = openPages(ctx, s.Database, o); err != nil {
		return err
	}
	s.onClose(s.pages.Close)
	o = options("haloingest front", connsFront)
	o.RetryFor = time.Second
	o.Settings = map[string]string{"statement_timeout": "5s", "lock_timeout": "4s"}
	if s.front, err = postgres.Open(ctx, s.Database, o); err != nil {
		return err
	}
	s.onClose(s.front.Close)
	return nil
}

// client makes clients of Intercom's API. Those of a person who waits try each request a few times only.
func (s *service) client(attempts int) func(region string, token secret.Text) (*intercom.Client, error) {
	o := s.Intercom
	o.Log, o.Wrap = s.log, s.metrics.Transport
	if attempts > 0 {
		o.MaxAttempts = attempts
	}
	return func(region string, token secret.Text) (*intercom.Client, error) {
		return intercom.New(region, token.Reveal(), o)
	}
}

// openParts makes what works on the database and what shows it.
func (s *service) openParts(ctx context.Context) error {
	connections := connection.NewStore(s.db.Pool(), s.Master)
	err := connections.CheckMaster(ctx)
	if err != nil {
		return err
	}
	if s.queue, err = work.NewQueue(s.db); err != nil {
		return err
	}
	o := s.Work
	o.DB, o.Connections, o.Client, o.Log = s.db, connections, s.client(0), s.log
	o.Watch = s.metrics.Jobs()
	prepare := o.Prepare
	o.Prepare = func(r *ingest.Runner) error {
		r.Watch = s.metrics.Watch()
		if prepare == nil {
			return nil
		}
		return prepare(r)
	}
	if s.crew, err = newCrew(o); err != nil {
		return err
	}
	s.gate, err = access.New(ctx, access.Options{
		DB: s.front, Log: s.log, PublicURL: s.public, Secure: strings.HasPrefix(s.public, "https://"), ScraperToken: s.MetricsToken, Proxies: s.Proxies,
		OIDC: s.OIDC, Idle: s.Idle, Lifetime: s.Lifetime, LoginFailed: s.metrics.LoginFailed,
	})
	if err != nil {
		return err
	}
	shown := connection.NewStore(s.pages.Pool(), s.Master)
	s.site, err = site.New(site.Options{
		DB: s.pages, Connections: shown, Every: connections, Queue: s.queue, Audit: s.gate.Audit, SyncEvery: s.Work.SyncEvery, PublicURL: s.public, Program: "haloingest " + s.Version, Log: s.log,
		Onboard: onboard.New(onboard.Options{DB: s.pages, Connections: shown, Client: s.client(attemptsOfPeople), Log: s.log}),
	})
	if err != nil {
		return err
	}
	s.onClose(s.site.Close)
	s.secrets = connection.NewStore(s.front.Pool(), s.Master)
	s.hooks = webhook.New(connection.NewKeyring(s.secrets, s.log), s.front, webhook.Options{Log: s.log, Stored: s.crew.stored})
	s.onClose(s.hooks.Close)
	s.ready = newReadiness(s.check, s.log)
	s.metrics.Webhooks(s.hooks.Outcomes)
	s.metrics.Database(s.front, metric.DatabaseOptions{})
	for name, db := range map[string]*postgres.DB{"work": s.db, "pages": s.pages, "front": s.front} {
		s.metrics.Pool(name, db.Pool().Stat)
	}
	return nil
}

// check says why requests cannot be worked on, if they cannot.
func (s *service) check(ctx context.Context) error {
	list, err := s.front.Migrations(ctx)
	if err != nil {
		return err
	}
	for _, m := range list {
		if !m.Applied {
			return &unready{fmt.Sprintf("migration %s of the database schema is missing; run: haloingest migrate up", m.Name)}
		}
	}
	if err := s.secrets.CheckMaster(ctx); err != nil {
		return err
	}
	return s.crew.working()
}
