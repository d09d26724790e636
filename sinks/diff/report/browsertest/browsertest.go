// Package browsertest lets tests look at pages in a real browser: Chromium or Chrome, headless, with nothing of the user's and no
// network but loopback.
//
// A test that needs a browser is skipped where there is none, unless HALOINGEST_TEST_REQUIRE_CHROMIUM is set. `make deps` installs
// one where it may.
package browsertest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// EnvRequire, when not empty, makes a missing browser a failure.
const EnvRequire = "HALOINGEST_TEST_REQUIRE_CHROMIUM"

// patience is for a machine that is busy with other tests as well.
const patience = 90 * time.Second

// Browser is a running browser. Its tabs may be used by several goroutines, one each.
type Browser struct {
	tb  testing.TB
	ctx context.Context
}

// New starts a browser that is stopped when the test ends.
func New(tb testing.TB) *Browser {
	tb.Helper()
	program, err := Find()
	switch {
	case errors.Is(err, ErrNotFound) && os.Getenv(EnvRequire) == "":
		tb.Skipf("this test needs a browser: %v", err)
	case err != nil:
		tb.Fatal(err)
	}
	ctx, cancel, err := start(tb.TempDir(), program, os.Geteuid() == 0)
	if err != nil && os.Geteuid() != 0 {
		// A container may forbid the sandbox to ordinary users, too. The pages are our own.
		ctx, cancel, err = start(tb.TempDir(), program, true)
	}
	if err != nil {
		tb.Fatalf("start %s: %v", program, err)
	}
	tb.Cleanup(cancel)
	return &Browser{tb: tb, ctx: ctx}
}

func start(dir, program string, noSandbox bool) (context.Context, context.CancelFunc, error) {
	options := append([]chromedp.ExecAllocatorOption{
		chromedp.ExecPath(program),
		chromedp.UserDataDir(filepath.Join(dir, "profile")),
		// Nothing but loopback has a name or an address.
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"),
	}, flags()...)
	if noSandbox {
		options = append(options, chromedp.NoSandbox)
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	end := func() {
		cancel()
		stop() // waits until the browser is gone
	}
	if err := chromedp.Do(ctx); err != nil {
		end()
		return nil, nil, err
	}
	return ctx, end, nil
}

func flags() []chromedp.ExecAllocatorOption {
	list := []chromedp.ExecAllocatorOption{chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.Headless}
	for _, name := range []string{"disable-gpu", "disable-quic", "disable-background-networking", "disable-component-update", "disable-sync",
		"disable-extensions", "disable-default-apps", "disable-dev-shm-usage", "metrics-recording-only", "mute-audio", "no-pings",
		"disable-domain-reliability", "disable-breakpad", "disable-client-side-phishing-detection", "use-mock-keychain"} {
		list = append(list, chromedp.Flag(name, true))
	}
	return append(list, chromedp.Flag("password-store", "basic"), chromedp.Flag("disable-features", "Translate,OptimizationHints,MediaRouter,DialMediaRouteProvider"))
}

// View is how a page is looked at. The zero value is a window of 1280 by 900 in light colours.
type View struct {
	Width, Height int
	Dark          bool
	Mobile        bool // a phone, at twice the density of pixels
	Print         bool // with the style of paper, on a screen
}

// Tab is a page that was opened.
type Tab struct {
	tb      testing.TB
	ctx     context.Context
	close   context.CancelFunc
	address string
	width   int // of the view

	mu       sync.Mutex
	seen     []string
	requests []string
}

// FileURL is the address of a file on this machine.
func FileURL(path string) string {
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(path)}).String()
}

// Open opens an address in a new tab, in a session that shares nothing with those of other tabs, and waits until it is loaded.
func (b *Browser) Open(address string, v View) *Tab {
	b.tb.Helper()
	if v.Width == 0 {
		v.Width = 1280
	}
	if v.Height == 0 {
		v.Height = 900
	}
	t := &Tab{tb: b.tb, address: address, width: v.Width}
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext(), chromedp.WithListener(t.hear))
	b.tb.Cleanup(cancel)
	t.ctx, t.close = ctx, cancel
	scheme, density, media := "light", 1.0, ""
	if v.Print {
		media = "print"
	}
	if v.Dark {
		scheme = "dark"
	}
	if v.Mobile {
		density = 2
	}
	if err := chromedp.Do(ctx); err != nil { // the tab lives as long as the context of this call
		b.tb.Fatalf("open a tab: %v", err)
	}
	t.Do(
		chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
			_, err := cdp.Call(ctx, target, network.Enable, network.EnableParams{})
			return err
		}),
		chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
			_, err := cdp.Call(ctx, target, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
				Width: int64(v.Width), Height: int64(v.Height), DeviceScaleFactor: density, Mobile: v.Mobile})
			return err
		}),
		chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
			_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Media: media, Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
			return err
		}),
		chromedp.Navigate(address),
	)
	return t
}

func (t *Tab) hear(event any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if e.Request.URL != t.address && !strings.HasPrefix(e.Request.URL, "data:") {
			t.requests = append(t.requests, e.Request.URL)
		}
	case *log.EventEntryAdded:
		t.seen = append(t.seen, fmt.Sprintf("%s: %s", e.Entry.Level, e.Entry.Text))
	case *runtime.EventExceptionThrown:
		t.seen = append(t.seen, "exception: "+thrown(e.ExceptionDetails))
	case *runtime.EventConsoleAPICalled:
		var words []string
		for _, arg := range e.Args {
			words = append(words, string(arg.Value))
		}
		t.seen = append(t.seen, fmt.Sprintf("console.%s: %s", e.Type, strings.Join(words, " ")))
	case *page.EventJavascriptDialogOpening:
		t.seen = append(t.seen, "dialog: "+e.Message)
	}
}

func thrown(d *runtime.ExceptionDetails) string {
	if d.Exception != nil && d.Exception.Description != "" {
		return d.Exception.Description
	}
	return d.Text
}

// Do runs actions in the tab; an error ends the test.
func (t *Tab) Do(actions ...chromedp.Action[chromedp.Void]) {
	t.tb.Helper()
	run(t, chromedp.Steps(actions...))
}

func run[T any](t *Tab, action chromedp.Action[T]) T {
	t.tb.Helper()
	ctx, end := context.WithTimeout(t.ctx, patience)
	defer end()
	value, err := chromedp.Run(ctx, action)
	if err != nil {
		t.tb.Fatalf("in the browser: %v", err)
	}
	return value
}

// Eval evaluates an expression in JavaScript, waits for its promise if it is one, and decodes its value.
func Eval[T any](t *Tab, expression string) T {
	t.tb.Helper()
	return run(t, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// Complaints are what the page wrote to the console, what it threw, what the browser refused it, and dialogs.
func (t *Tab) Complaints() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.seen...)
}

// Requests are the addresses that the page asked for beside its own.
func (t *Tab) Requests() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.requests...)
}

// Press types characters; "\t" is the tabulator and "\r" the return key.
func (t *Tab) Press(keys string) {
	t.tb.Helper()
	t.Do(chromedp.KeyEvent(keys))
}

// Close closes the tab before the test ends.
func (t *Tab) Close() { t.close() }

// Screenshot is a PNG of the whole page.
func (t *Tab) Screenshot() []byte {
	t.tb.Helper()
	return run(t, chromedp.FullScreenshot(100))
}

// PDF prints the page on A4 as a person would who changes no setting: in the page's own margins and without backgrounds.
func (t *Tab) PDF() []byte {
	t.tb.Helper()
	return run(t, chromedp.PrintToPDF(chromedp.PDFPaper(chromedp.PaperA4), chromedp.PDFPreferCSSPageSize()))
}
