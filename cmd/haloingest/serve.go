package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"haloingest/cmd/haloingest/internal/config"
	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/cmd/haloingest/internal/service"
	"haloingest/cmd/haloingest/internal/service/access"
	"haloingest/cmd/haloingest/internal/service/work"
	"haloingest/pipeline/record"
	"haloingest/sinks/parquet"
	"haloingest/sinks/parquet/bucket"
	"haloingest/sources/snapshot"
)

const (
	categoryServe = "Who reaches it, and where"
	categoryLogin = "Signing in"
	categoryWork  = "Work"
)

func (a *app) serve() *cli.Command {
	return &cli.Command{
		Name:  "serve",
		Usage: "the service: integration page, webhooks, hourly sync, workers",
		Description: `Any number of processes may serve from one database. On the first start, with nobody who could sign in, a link
is printed at which the first person sets a password; it works once, for an hour. SIGTERM, or the first interrupt,
ends it in order: nothing more is accepted, what is under way is finished and committed, and the exit code is 0.
Another one, half a second later or more, ends it at once, with 130; nothing that was answered or committed is lost by that.`,
		Flags: concat([]cli.Flag{
			&cli.StringFlag{Name: "listen", Usage: "`ADDRESS` to listen on; port 0 takes a free one", Value: service.DefaultListen, Category: categoryServe},
			&cli.StringFlag{Name: "public-url", Usage: "`URL` under which people and Intercom reach it, https://host, if that is not the address it listens on", Category: categoryServe},
			&cli.StringFlag{Name: "url-file", Usage: "write the URL under which this machine reaches it to `FILE` once requests are answered", Category: categoryServe},
			&cli.StringFlag{Name: "tls-cert", Usage: "`FILE` with the certificate, to be reached by https without a proxy; a renewed one is taken up by itself", Category: categoryServe},
			&cli.StringFlag{Name: "tls-key", Usage: "`FILE` with its key", Category: categoryServe},
			&cli.StringSliceFlag{Name: "trusted-proxy", Usage: "`ADDRESS` or network of a proxy whose X-Forwarded-For is believed; may be given again", Category: categoryServe},
			&cli.StringFlag{Name: "metrics-listen", Usage: "`ADDRESS` for /metrics alone, which only the scraper reaches", Category: categoryServe},
			&cli.StringFlag{Name: "metrics-token-file", Usage: "`FILE` with the token that a scraper shows (or HALOINGEST_METRICS_TOKEN); without it and --metrics-listen, /metrics is for this machine alone", Category: categoryServe},
			&cli.DurationFlag{Name: "stop-delay", Usage: "when asked to end, answer 503 on /readyz for a `SPAN` before nothing more is accepted", Category: categoryServe},
			&cli.StringFlag{Name: "trace-endpoint", Usage: "`URL` of an OTLP/HTTP collector of traces, http://host:4318 (or OTEL_EXPORTER_OTLP_ENDPOINT)", Category: categoryServe},
			&cli.StringFlag{Name: "oidc-issuer", Usage: "sign in by OpenID Connect as well: `URL` of the issuer", Category: categoryLogin},
			&cli.StringFlag{Name: "oidc-client-id", Usage: "this service's `ID` there", Category: categoryLogin},
			&cli.StringFlag{Name: "oidc-client-secret-file", Usage: "`FILE` with its secret there (or HALOINGEST_OIDC_CLIENT_SECRET)", Category: categoryLogin},
			&cli.StringFlag{Name: "oidc-name", Usage: "what the button to sign in there calls it: a `NAME`", DefaultText: "single sign-on", Category: categoryLogin},
			&cli.StringFlag{Name: "oidc-admin", Usage: "who signs in there with this verified `ADDRESS` looks after the installation, as long as nobody else is known", Category: categoryLogin},
			&cli.DurationFlag{Name: "session-idle", Usage: "sign out who has done nothing for a `SPAN`", Value: access.DefaultIdle, Category: categoryLogin},
			&cli.DurationFlag{Name: "session-lifetime", Usage: "sign out everybody after a `SPAN`", Value: access.DefaultLifetime, Category: categoryLogin},
			&cli.IntFlag{Name: "backfill-workers", Usage: "do at most `N` backfills and replays at once in this process, at up to 180 MB each", Value: 2, Category: categoryWork},
			&cli.IntFlag{Name: "sync-workers", Usage: "do at most `N` syncs and retries at once", Value: 4, Category: categoryWork},
			&cli.IntFlag{Name: "drain-workers", Usage: "work on the webhooks of at most `N` organisations at once", Value: 8, Category: categoryWork},
			&cli.DurationFlag{Name: "slice", Usage: "a backfill makes room for another that waits after a `SPAN`", Value: work.DefaultSlice, Category: categoryWork},
			&cli.DurationFlag{Name: "sync-every", Usage: "`SPAN` between syncs", Value: work.DefaultSyncEvery, Category: categoryWork},
			&cli.DurationFlag{Name: "walk-every", Usage: "`SPAN` between full walks, which find what was deleted", Value: work.DefaultWalkEvery, Category: categoryWork},
		}, attachmentFlags(), modelFlags(), apiFlags(), storeFlags(), outputFlags()),
		Action: a.runService,
	}
}

func (a *app) runService(c *cli.Context) error {
	if err := noOperands(c); err != nil {
		return err
	}
	cfg, err := a.config(c)
	if err != nil {
		return err
	}
	s, err := a.serviceConfig(c, cfg)
	if err != nil {
		return err
	}
	if err := s.Validate(); err != nil {
		return err
	}
	d, err := a.reachDatabase(c, cfg)
	if err != nil {
		return err
	}
	defer d.close()
	s.Database, s.Log = d.url, d.log
	s.Started = func(at service.Started) error {
		if file := c.String("url-file"); file != "" {
			if err := writeWhole(file, at.Local+"\n"); err != nil {
				return usagef("--url-file: %w", err)
			}
		}
		return a.result(at, func(w io.Writer) { printStarted(w, at) })
	}
	return service.Run(a.hard, a.read, s)
}

func printStarted(w io.Writer, at service.Started) {
	fmt.Fprintf(w, "Serving at %s\n", at.URL)
	if at.FirstLink != "" {
		fmt.Fprintf(w, "Nobody can sign in yet. Set the first password, within an hour, at %s\n", at.FirstLink)
	}
}

// serviceConfig reads the flags of serve.
func (a *app) serviceConfig(c *cli.Context, cfg config.Config) (service.Config, error) {
	s := service.Config{
		Master: cfg.MasterKey, Listen: c.String("listen"), PublicURL: c.String("public-url"), CertFile: c.String("tls-cert"), KeyFile: c.String("tls-key"),
		MetricsListen: c.String("metrics-listen"), TraceEndpoint: c.String("trace-endpoint"), Idle: c.Duration("session-idle"), Lifetime: c.Duration("session-lifetime"),
		StopDelay: c.Duration("stop-delay"), Intercom: clientOptions(cfg, nil), Version: version,
	}
	for _, flag := range []string{"slice", "sync-every", "walk-every", "session-idle", "session-lifetime"} {
		if c.Duration(flag) < time.Second {
			return s, usagef("--%s %s: want a span of 1s or more, such as 1h", flag, shortDuration(c.Duration(flag)))
		}
	}
	if s.StopDelay < 0 {
		return s, usagef("--stop-delay %s: want 0 or more", shortDuration(s.StopDelay))
	}
	s.Work = work.Options{Concurrency: cfg.Concurrency, Slice: c.Duration("slice"), SyncEvery: c.Duration("sync-every"), WalkEvery: c.Duration("walk-every"), Snapshot: snapshots(cfg)}
	for flag, into := range map[string]*int{"backfill-workers": &s.Work.Backfills, "sync-workers": &s.Work.Syncs, "drain-workers": &s.Work.Drains} {
		if *into = c.Int(flag); *into < 1 || *into > 256 {
			return s, usagef("--%s %d: want 1 to 256", flag, *into)
		}
	}
	for _, text := range c.StringSlice("trusted-proxy") {
		p, err := network(text)
		if err != nil {
			return s, usagef("--trusted-proxy %q: want an address or a network, such as 10.0.0.1 or 10.0.0.0/8", text)
		}
		s.Proxies = append(s.Proxies, p)
	}
	var err error
	if s.MetricsToken, err = a.readSecret(c, "metrics-token"); err != nil {
		return s, err
	}
	if s.OIDC, err = a.oidc(c); err != nil {
		return s, err
	}
	s.Work.Prepare, err = a.preparing(c, cfg)
	return s, err
}

func network(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	return p.Masked(), err
}

// oidc reads the flags of OpenID Connect; nil without an issuer.
func (a *app) oidc(c *cli.Context) (*access.OIDC, error) {
	issuer, id := c.String("oidc-issuer"), c.String("oidc-client-id")
	key, err := a.readSecret(c, "oidc-client-secret")
	switch {
	case err != nil:
		return nil, err
	case issuer == "" && (id != "" || !key.IsEmpty() || c.String("oidc-name") != "" || c.String("oidc-admin") != ""):
		return nil, usagef("--oidc-issuer is missing: the address of who signs people in")
	case issuer == "":
		return nil, nil
	case id == "":
		return nil, usagef("--oidc-client-id is missing: this service's id at %s", issuer)
	}
	return &access.OIDC{Issuer: issuer, ClientID: id, Secret: key, Name: c.String("oidc-name"), Admin: c.String("oidc-admin")}, nil
}

// preparing gives each run what --distiller and --attachments ask for. That they can be used is found at once.
func (a *app) preparing(c *cli.Context, cfg config.Config) (func(*ingest.Runner) error, error) {
	if c.String("model-key-file") == "-" {
		return nil, usagef("--model-key-file: every run reads the key, so it cannot be standard input; name a file, or set HALOINGEST_MODEL_KEY")
	}
	files, err := attachments(c)
	if err != nil {
		return nil, err
	}
	log := a.logger(cfg)
	distilling := func(r *ingest.Runner) (err error) {
		r.Distiller, err = a.distiller(c, &workspace{database: &database{DB: r.DB, cfg: cfg, log: log}, org: r.Connection.Org})
		return err
	}
	if err := distilling(&ingest.Runner{}); err != nil {
		return nil, err
	}
	return func(r *ingest.Runner) error {
		r.Attachments = files
		return distilling(r)
	}, nil
}

// snapshots opens what replays load.
func snapshots(cfg config.Config) func(context.Context, record.UUID, work.ReplayOptions) (*snapshot.Snapshot, func(), error) {
	keys := sync.OnceValues(func() (*secret.FileKeys, error) { return secret.OpenFileKeys(cfg.MasterKey) })
	return func(ctx context.Context, org record.UUID, o work.ReplayOptions) (*snapshot.Snapshot, func(), error) {
		store, err := bucket.Open(ctx, o.Location)
		if err != nil {
			return nil, nil, err
		}
		layer := parquet.LayerRows
		if o.Remap {
			layer = parquet.LayerPages
		}
		done := func() { _ = store.Close() } // it was only read
		snap, err := snapshot.Open(ctx, store, snapshot.Options{Org: org, Run: o.Run, Layers: []string{layer}, Unseal: func(path string, sealed []byte) ([]byte, error) {
			k, err := keys()
			if err != nil {
				return nil, err
			}
			return k.Open(path, sealed)
		}})
		if err != nil {
			done()
			return nil, nil, err
		}
		return snap, done, nil
	}
}

// writeWhole makes a file appear with all of its content, since scripts wait for it.
func writeWhole(name, content string) error {
	tmp, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	_, err = tmp.WriteString(content)
	if err = errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
	}
	return err
}
