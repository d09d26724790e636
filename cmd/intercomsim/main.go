// Command intercomsim serves a simulated Intercom workspace over HTTP, for trying
// and testing whatever talks to the Intercom API. See package intercomtest for
// what it holds and how truthful it is.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"haloingest/sources/intercom/intercomtest"
)

func main() {
	// The simulator holds next to nothing and makes a lot of garbage: with the
	// default the collector runs hundreds of times a second.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(800)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newApp(os.Stdout, os.Stderr).RunContext(ctx, os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "intercomsim:", err)
		os.Exit(2)
	}
}

func newApp(stdout, stderr io.Writer) *cli.App {
	app := &cli.App{
		Name:            "intercomsim",
		Usage:           "serve a simulated Intercom workspace",
		UsageText:       "intercomsim [--listen ADDR] [--conversations N] [--rate-limit 10000/min] [--faults SPEC] ...",
		HideHelpCommand: true,
		Writer:          stdout,
		ErrWriter:       stderr,
		// The default handler calls os.Exit, which leaves nothing to test.
		ExitErrHandler: func(*cli.Context, error) {},
		// One line that names the mistake, rather than a page of flags.
		OnUsageError: func(_ *cli.Context, err error, _ bool) error { return err },
		Action:       run,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "listen", Value: "127.0.0.1:0", Usage: "`ADDRESS` to listen on; port 0 takes a free one"},
			&cli.StringFlag{Name: "url-file", Usage: "write the URL to `FILE` once requests are answered"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "which workspace; the same seed gives the same one"},
			&cli.IntFlag{Name: "conversations", Value: 200, Usage: "how many conversations"},
			&cli.IntFlag{Name: "contacts", Usage: "how many contacts (half the conversations; -1 is none)"},
			&cli.IntFlag{Name: "companies", Usage: "how many companies (a fiftieth of the conversations; -1 is none)"},
			&cli.IntFlag{Name: "tickets", Usage: "how many tickets (a twentieth of the conversations; -1 is none)"},
			&cli.IntFlag{Name: "oddities", Value: 20, Usage: "peculiar objects per thousand (-1 is none)"},
			&cli.StringFlag{Name: "dialogs", Usage: "serve the dialogues of a JSON lines `FILE` instead of generated ones"},
			&cli.StringFlag{Name: "start", Usage: "`DATE` of the oldest object, 2006-01-02", Value: "2024-01-01"},
			&cli.DurationFlag{Name: "span", Value: 2 * 365 * 24 * time.Hour, Usage: "time from the oldest object to the last change"},
			&cli.StringFlag{Name: "token", Value: intercomtest.TestToken, Usage: "access token that clients must send"},
			&cli.StringFlag{Name: "token-file", Usage: "read the access token from `FILE`; where there is none, --token is written to it"},
			&cli.StringFlag{Name: "scopes", Value: "read", Usage: "what the token may do: read, or some of contacts|companies|conversations|tickets|admins|tags|write-companies"},
			&cli.StringFlag{Name: "app-id", Usage: "workspace id (made from the seed)"},
			&cli.StringFlag{Name: "app-name", Value: "Simulated workspace", Usage: "workspace name"},
			&cli.StringFlag{Name: "region", Value: "US", Usage: "US, EU or AU, as /me reports it"},
			&cli.StringFlag{Name: "timezone", Value: "America/Los_Angeles", Usage: "time zone of the workspace, by whose days contact search compares dates"},
			&cli.StringFlag{Name: "version-default", Value: "2.16", Usage: "API version of requests that name none"},
			&cli.StringFlag{Name: "rate-limit", Value: "0", Usage: "budget as `N/min` (or N), 0 is none; Intercom gives 10000/min"},
			&cli.Float64Flag{Name: "other-app-share", Usage: "share (0 to 1) of the budget that another app uses"},
			&cli.DurationFlag{Name: "latency", Usage: "added to every reply"},
			&cli.DurationFlag{Name: "jitter", Usage: "random addition to the latency"},
			&cli.StringFlag{Name: "faults", Usage: "what goes wrong, as `KIND:setting=value,...;KIND:...`, for example 429:rate=0.01;5xx:nth=3|7,path=/conversations/*"},
			&cli.DurationFlag{Name: "search-delay", Usage: "time until a new contact can be searched for"},
			&cli.DurationFlag{Name: "scroll-idle", Value: time.Minute, Usage: "life of an unused company scroll"},
			&cli.BoolFlag{Name: "files", Value: true, Usage: "serve the files of attachments; --files=false gives them addresses that lead nowhere, the same in every process"},
			&cli.DurationFlag{Name: "file-life", Value: 30 * time.Minute, Usage: "how long the address of a file is good"},
			&cli.BoolFlag{Name: "silent-redaction", Usage: "redaction leaves updated_at alone"},
		}, webhookFlags()...),
	}
	return app
}

func run(c *cli.Context) error {
	if c.Args().Present() {
		return fmt.Errorf("unknown argument %q", c.Args().First())
	}
	o, err := options(c)
	if err != nil {
		return err
	}
	told, every, err := webhooks(c)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", c.String("listen"))
	if err != nil {
		return fmt.Errorf("listen on %s: %w", c.String("listen"), err)
	}
	o.BaseURL = "http://" + l.Addr().String()
	w, err := intercomtest.New(o)
	if err != nil {
		_ = l.Close()
		return err
	}
	srv := intercomtest.NewHTTPServer(w)
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()

	n, o := w.Ledger().Counts(), w.Options()
	fmt.Fprintf(c.App.Writer, "intercomsim: %s workspace %s (%s, %s), token %s, %d contacts, %d companies, %d conversations, %d tickets\n",
		o.BaseURL, o.AppID, o.Region, o.Timezone, hint(o.Token), n.Contacts, n.Companies, n.Conversations, n.Tickets)
	if f := c.String("url-file"); f != "" {
		if err := writeWhole(f, o.BaseURL+"\n"); err != nil {
			_ = srv.Close()
			return err
		}
	}
	w.SendWebhooks(told)
	var changing sync.WaitGroup
	if every > 0 {
		changing.Go(func() { keepChanging(c.Context, w, every) })
	}
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-c.Context.Done():
	}
	changing.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context), 2*time.Second)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		_ = srv.Close() // stalled and slow replies do not hold up the end
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	if told.URL != "" {
		d := w.Deliver(ctx)
		fmt.Fprintf(c.App.ErrWriter, "intercomsim: %d webhooks, %d requests, %d of them answered with 200\n", d.Changes, d.Sent, d.Statuses[http.StatusOK])
	}
	s := w.Stats()
	fmt.Fprintf(c.App.ErrWriter, "intercomsim: stopped after %d requests, %d of them refused with 429, %d violations\n", s.Requests, s.TooMany, len(s.Violations))
	return nil
}

func options(c *cli.Context) (intercomtest.Options, error) {
	o := intercomtest.Options{
		Seed: c.Uint64("seed"), Conversations: c.Int("conversations"), Contacts: c.Int("contacts"), Companies: c.Int("companies"),
		Tickets: c.Int("tickets"), Oddities: c.Int("oddities"), Span: c.Duration("span"), Token: strings.TrimSpace(c.String("token")),
		AppID: c.String("app-id"), AppName: c.String("app-name"), Region: strings.ToUpper(c.String("region")), Timezone: c.String("timezone"),
		DefaultVersion: c.String("version-default"), OtherAppShare: c.Float64("other-app-share"), Latency: c.Duration("latency"),
		Jitter: c.Duration("jitter"), SearchDelay: c.Duration("search-delay"), ScrollIdle: c.Duration("scroll-idle"),
		SilentRedaction: c.Bool("silent-redaction"), Files: c.Bool("files"), FileLife: c.Duration("file-life"),
	}
	if o.Oddities == 0 {
		o.Oddities = -1
	}
	if o.Conversations == 0 {
		o.Conversations = -1
	}
	var err error
	if o.Start, err = time.Parse(time.DateOnly, c.String("start")); err != nil {
		return o, fmt.Errorf("--start %q: want a date such as 2024-01-01", c.String("start"))
	}
	if o.Scopes, err = intercomtest.ParseScope(c.String("scopes")); err != nil {
		return o, fmt.Errorf("--scopes: %w", err)
	}
	if o.RateLimit, err = rate(c.String("rate-limit")); err != nil {
		return o, err
	}
	if o.Faults, err = intercomtest.ParseFaults(c.String("faults")); err != nil {
		return o, fmt.Errorf("--faults: %w", err)
	}
	if f := c.String("token-file"); f != "" {
		b, err := os.ReadFile(f)
		if errors.Is(err, fs.ErrNotExist) {
			b = []byte(o.Token)
			err = os.WriteFile(f, append(b, '\n'), 0o600)
		}
		if err != nil {
			return o, fmt.Errorf("--token-file: %w", err)
		}
		if o.Token = strings.TrimSpace(string(b)); o.Token == "" {
			return o, fmt.Errorf("--token-file %s is empty", f)
		}
	}
	if f := c.String("dialogs"); f != "" {
		in, err := os.Open(f)
		if err != nil {
			return o, fmt.Errorf("--dialogs: %w", err)
		}
		defer in.Close()
		if o.Dialogs, err = intercomtest.ReadDialogs(in); err != nil {
			return o, fmt.Errorf("--dialogs %s: %w", f, err)
		}
		if !c.IsSet("conversations") {
			o.Conversations = 0 // as many as there are dialogues
		}
	}
	return o, nil
}

// rate reads 10000/min, or 10000.
func rate(s string) (int, error) {
	n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(s), "/min"))
	if err != nil || n < 0 {
		return 0, fmt.Errorf("--rate-limit %q: want a number of requests per minute such as 10000/min", s)
	}
	return n, nil
}

// hint shows enough of a token to tell it from another. The default one is no
// secret and is shown whole.
func hint(token string) string {
	if token == intercomtest.TestToken || len(token) < 8 {
		return token
	}
	return "..." + token[len(token)-4:]
}

// writeWhole makes the file appear with all of its content, since scripts wait
// for it.
func writeWhole(name, content string) error {
	tmp, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return fmt.Errorf("--url-file: %w", err)
	}
	_, err = tmp.WriteString(content)
	if err = errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
		return fmt.Errorf("--url-file: %w", err)
	}
	return nil
}
