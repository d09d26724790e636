package intercom_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"context"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sources/intercom"
	"haloingest/sources/intercom/intercomtest"
)

// trap listens and remembers whether anybody came.
type trap struct {
	*httptest.Server
	came atomic.Int64
}

func newTrap(tb testing.TB) *trap {
	x := &trap{}
	x.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { x.came.Add(1) }))
	x.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			x.came.Add(1)
		}
	}
	x.Start()
	tb.Cleanup(x.Close)
	return x
}

// What lasts is recorded with its reason, and everything else is saved.
func TestALastingFaultIsRecordedAndStopsNothing(t *testing.T) {
	trap := newTrap(t)
	for name, tt := range map[string]struct {
		fault  intercomtest.Fault
		reason string
		says   string
		asks   int64 // requests at most
	}{
		"expired for good":     {intercomtest.Fault{Kind: intercomtest.FaultExpired}, record.AttachmentRefused, "status 403, also with a fresh link", 2},
		"not there":            {intercomtest.Fault{Kind: intercomtest.FaultNotFound}, record.AttachmentRefused, "status 404, also with a fresh link", 2},
		"a failing server":     {intercomtest.Fault{Kind: intercomtest.FaultServerError, Status: 502}, record.AttachmentUnavailable, "status 502 (4 attempts)", 4},
		"always cut":           {intercomtest.Fault{Kind: intercomtest.FaultTruncated}, record.AttachmentUnavailable, "ended within the file", 4},
		"huge":                 {intercomtest.Fault{Kind: intercomtest.FaultHuge, Bytes: 1 << 30}, record.AttachmentTooLarge, "1073741824 bytes, more than", 1},
		"huge, and silent":     {intercomtest.Fault{Kind: intercomtest.FaultHuge, Bytes: 1 << 30, Headers: intercomtest.HeadersNone}, record.AttachmentTooLarge, "larger than", 1},
		"encoded":              {intercomtest.Fault{Kind: intercomtest.FaultBadGzip}, record.AttachmentUnavailable, "encoded", 4},
		"leads elsewhere":      {intercomtest.Fault{Kind: intercomtest.FaultRedirect, Location: "https://evil.example/x?token=1"}, record.AttachmentForeign, "evil.example", 1},
		"leads to this host":   {intercomtest.Fault{Kind: intercomtest.FaultRedirect, Location: trap.URL + "/x", Status: 307}, record.AttachmentForeign, "127.0.0.1", 1},
		"leads to a file":      {intercomtest.Fault{Kind: intercomtest.FaultRedirect, Location: "file:///etc/passwd"}, record.AttachmentForeign, "no host", 1},
		"leads to metadata":    {intercomtest.Fault{Kind: intercomtest.FaultRedirect, Location: "http://169.254.169.254/latest"}, record.AttachmentForeign, "169.254.169.254", 1},
		"leads round a circle": {intercomtest.Fault{Kind: intercomtest.FaultRedirect, Location: "?expires=1"}, record.AttachmentRefused, "status 302, again and again", 5},
		"silent":               {intercomtest.Fault{Kind: intercomtest.FaultStall}, record.AttachmentUnavailable, "its host sends nothing (2 attempts)", 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := intercomtest.Start(t, withFiles(intercomtest.Options{}))
			c := connect(t, s)
			b := naming(t, c)
			// The attribute of a ticket is at fault; all others are not.
			tt.fault.Path = "GET /i/o/*/*/*/idea.png"
			if err := s.SetFaults(tt.fault); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			a := attachmentsOf(t, c, dir, func(o *intercom.AttachmentOptions) {
				o.MaxBytes = 1 << 20
				if tt.fault.Kind == intercomtest.FaultStall {
					o.Stall, o.Attempts = time.Second, 2
				}
			})
			failed := map[string]bool{}
			for place, f := range told(t, a, b) {
				switch bad := strings.HasSuffix(f.URL, "/idea.png"); {
				case bad:
					failed[f.URL] = true
					if f.Path != "" || f.Reason != tt.reason || !strings.Contains(f.Error, tt.says) || f.SHA256 != "" || !f.Retry {
						t.Errorf("%s is told as %+v, want %s: %s", place, f, tt.reason, tt.says)
					}
					if strings.ContainsAny(f.Error, "?&") || strings.Contains(f.Error, "signature") {
						t.Errorf("the error holds a signature: %s", f.Error)
					}
				case f.Path == "":
					t.Errorf("%s is told as %+v", place, f)
				}
			}
			// The transport itself asks once more where a connection fails that was used before.
			if n := s.Stats().Faults[tt.fault.Kind]; len(failed) == 0 || n == 0 || n > 2*tt.asks*int64(len(failed)) {
				t.Errorf("%d requests for %d files, want at most %d for each", n, len(failed), tt.asks)
			}
			noViolation(t, s)
			if entries, err := os.ReadDir(filepath.Join(dir, "tmp", record.UUID{1}.String())); err != nil || len(entries) > 0 {
				t.Errorf("%d half-written files are left (%v)", len(entries), err)
			}
		})
	}
	t.Cleanup(func() {
		if n := trap.came.Load(); n > 0 {
			t.Errorf("somebody came to a host that is not Intercom's %d times", n)
		}
	})
}

// Twice the same content is what Intercom has, whatever size it states.
func TestAFileOfAnotherSizeThanStatedIsKeptWithAWord(t *testing.T) {
	s := intercomtest.Start(t, withFiles(intercomtest.Options{}))
	c := connect(t, s)
	b := naming(t, c)
	if err := s.SetFaults(intercomtest.Fault{Kind: intercomtest.FaultShortLength, Path: "GET /i/o/*/*/*/idea.png"}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, held := range []bool{false, true} {
		odd := 0
		for place, f := range told(t, attachmentsOf(t, c, dir), b) {
			if !strings.HasSuffix(f.URL, "/idea.png") {
				continue
			}
			odd++
			if f.Path == "" || f.Bytes != 2000 || f.Size != 3000 || f.Reason != record.AttachmentOddSize || f.Error != "Intercom states 3000 bytes and has 2000" || f.Retry || f.Held != held {
				t.Errorf("%s is told as %+v", place, f)
			}
		}
		if odd == 0 {
			t.Error("there is no such file")
		}
	}
}

// Nobody but Intercom is asked, whatever an object names.
func TestAForeignHostIsNeverAsked(t *testing.T) {
	s := intercomtest.Start(t, withFiles(intercomtest.Options{}))
	c := connect(t, s)
	trap := newTrap(t)
	_, port, err := net.SplitHostPort(trap.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	hosts := []string{
		trap.URL + "/x.png", "http://localhost:" + port + "/x.png", "http://[::1]:" + port + "/x.png", "http://0x7f000001:" + port + "/x.png",
		"http://2130706433:" + port + "/x.png", "https://127.0.0.1:" + port + "/x.png", "http://" + strings.TrimPrefix(s.URL, "http://") + "@127.0.0.1:" + port + "/x",
		"https://downloads.intercomcdn.com@127.0.0.1:" + port + "/x.png", "https://downloads.intercomcdn.com:" + port + "/x.png",
		"https://downloads.intercomcdn.com.evil.example/x.png", "https://evilintercomcdn.com/x.png", "http://downloads.intercomcdn.com/x.png",
		"//127.0.0.1:" + port + "/x.png", "file:///etc/passwd", "/etc/passwd", "ftp://downloads.intercomcdn.com/x", "",
		"https://intercom-attachments-10.com/x.png", "javascript:alert(1)", "http://127.0.0.1.:" + port + "/x", "ht tp://x", "https://x\x00y/",
	}
	var list, images strings.Builder
	for i, h := range hosts {
		fmt.Fprintf(&list, `%s{"type":"upload","name":"x","url":%q,"filesize":10}`, map[bool]string{true: ","}[i > 0], strings.ReplaceAll(h, "\x00", ""))
		fmt.Fprintf(&images, `<img src=\"%s\"><a href=\"%s\">x</a>`, strings.ReplaceAll(h, "\x00", ""), strings.ReplaceAll(h, "\x00", ""))
	}
	body := `{"id":"1","source":{"id":"2","body":"` + images.String() + `","attachments":[` + list.String() + `]}}`
	b := pipeline.Batch[record.Change]{Items: []record.Change{{Kind: record.KindConversation, SourceID: "1", Object: &record.Object{Kind: record.KindConversation, ID: "1", Body: []byte(body)}}}}
	s.ResetStats()
	got := told(t, attachmentsOf(t, c, t.TempDir()), b)
	if len(got) != len(hosts) {
		t.Errorf("%d files are told, want the %d attachments and none of the texts", len(got), len(hosts))
	}
	for place, f := range got {
		if f.Path != "" || f.Retry || f.Reason != record.AttachmentForeign && f.Reason != record.AttachmentNoAddress {
			t.Errorf("%s is told as %+v", place, f)
		}
	}
	if n := trap.came.Load(); n != 0 {
		t.Errorf("somebody came %d times", n)
	}
	if n := s.Stats().Requests; n != 0 {
		t.Errorf("%d requests", n)
	}
}

// recordingClock does not sleep but remembers for how long it should have.
type recordingClock struct {
	mu    sync.Mutex
	slept time.Duration
	base  time.Time
}

func (c *recordingClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.base.Add(c.slept)
}

func (c *recordingClock) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slept += max(d, 0)
	return context.Cause(ctx)
}

func TestDownloadsKeepToTheRateTogether(t *testing.T) {
	s := intercomtest.Start(t, withFiles(intercomtest.Options{FileSize: 100_000}))
	b := naming(t, connect(t, s))
	clock := &recordingClock{base: time.Now()}
	c := connect(t, s, func(o *intercom.Options) { o.Clock = clock })
	a := attachmentsOf(t, c, t.TempDir(), func(o *intercom.AttachmentOptions) { o.Rate = 50_000 })
	told(t, a, b)
	// The last bytes are not waited for; nothing else may be missing.
	want := time.Duration(float64(a.Stats().Bytes) / 50_000 * float64(time.Second))
	if clock.slept > want || clock.slept < want-3*time.Second || want < time.Minute {
		t.Errorf("%d bytes took %v, want %v", a.Stats().Bytes, clock.slept, want)
	}
}

// A file passes through in small pieces, however large it is.
func TestALargeFileIsNotHeldInMemory(t *testing.T) {
	const size = 90 << 20
	o := withFiles(intercomtest.Options{FileSize: size})
	o.Conversations, o.Tickets = 12, -1
	s := intercomtest.Start(t, o)
	c := connect(t, s)
	b := naming(t, c)
	var want intercomtest.LedgerFile
	for f := range s.Ledger().Files() {
		want = f
		break
	}
	for _, x := range b.Items {
		if x.SourceID == want.ObjectID {
			b.Items = []record.Change{x}
		}
	}
	if len(b.Items) != 1 {
		t.Fatal("no conversation names a file")
	}
	a := attachmentsOf(t, c, t.TempDir())
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got := told(t, a, b)
	runtime.ReadMemStats(&after)
	found := false
	for _, f := range got {
		found = found || f.URL == want.URL && f.SHA256 == want.SHA256 && f.Bytes == size
	}
	if !found {
		t.Errorf("told %+v, want %+v", got, want)
	}
	// Everything that was allocated, the simulator's part included.
	if used := after.TotalAlloc - before.TotalAlloc; used > 8<<20 {
		t.Errorf("%d bytes were allocated for a file of %d", used, size)
	}
}

// Without the folder the run cannot keep its promise, so it ends; what was saved is whole.
func TestAFolderThatFailsEndsTheRun(t *testing.T) {
	s := intercomtest.Start(t, withFiles(intercomtest.Options{}))
	c := connect(t, s)
	b := naming(t, c)
	dir := t.TempDir()
	a := attachmentsOf(t, c, dir)
	tmp := filepath.Join(dir, "tmp", record.UUID{1}.String())
	if err := os.Remove(tmp); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(tmp, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Write(t.Context(), b); !errors.Is(err, intercom.ErrFolder) || !strings.Contains(err.Error(), dir+": ") || !strings.Contains(err.Error(), "may write to") {
		t.Errorf("the error is %v, want ErrFolder with the folder's name and what is needed of it", err)
	}
	if _, err := intercom.NewAttachments(c, intercom.AttachmentOptions{Dir: filepath.Join(tmp, "below a file"), Org: record.UUID{1}}); !errors.Is(err, intercom.ErrFolder) {
		t.Errorf("a folder below a file: %v, want ErrFolder", err)
	}
	allSaved(t, s, dir, told(t, attachmentsOf(t, c, dir), b))
}

// A token that was revoked meanwhile is no fault of a file.
func TestADeadTokenEndsTheRun(t *testing.T) {
	s := intercomtest.Start(t, withFiles(intercomtest.Options{}))
	c := connect(t, s)
	b := naming(t, c)
	err := s.SetFaults(intercomtest.Fault{Kind: intercomtest.FaultExpired}, intercomtest.Fault{Kind: intercomtest.FaultTokenRevoked})
	if err != nil {
		t.Fatal(err)
	}
	_, err = attachmentsOf(t, c, t.TempDir()).Write(t.Context(), b)
	if class, ok := intercom.ClassOf(err); !ok || class != intercom.ClassStop {
		t.Errorf("the error is %v, want one of class %v", err, intercom.ClassStop)
	}
}

func TestACancelledDownloadEndsSoon(t *testing.T) {
	s := intercomtest.Start(t, withFiles(intercomtest.Options{}))
	c := connect(t, s)
	b := naming(t, c)
	if err := s.SetFaults(intercomtest.Fault{Kind: intercomtest.FaultStallLate}); err != nil {
		t.Fatal(err)
	}
	a := attachmentsOf(t, c, t.TempDir(), func(o *intercom.AttachmentOptions) { o.Stall = time.Hour })
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		for s.Stats().Endpoints["GET /i/o/{file}"] == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel(cause)
	}()
	if _, err := a.Write(ctx, b); !errors.Is(err, cause) {
		t.Errorf("the error is %v, want the cause", err)
	}
}

// While a host is down, waiting for each of many files would take days; each is asked for once, and the first that comes ends that.
func TestAHostThatIsDownIsNotWaitedForFileByFile(t *testing.T) {
	s := intercomtest.Start(t, withFiles(intercomtest.Options{}))
	c := connect(t, s)
	b := naming(t, c)
	if err := s.SetFaults(intercomtest.Fault{Kind: intercomtest.FaultServerError, Path: "GET /i/o/*/*/*/*", Status: 503}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	a := attachmentsOf(t, c, dir)
	for place, f := range told(t, a, b) {
		if f.Path != "" || f.Reason != record.AttachmentUnavailable || !strings.HasPrefix(f.Error, "the file's host answers with status 503") {
			t.Errorf("%s is told as %+v", place, f)
		}
	}
	files := int64(addresses(ledgerFiles(s)))
	// Sixteen until patience ends and eight that are under way then have four attempts each.
	if n := s.Stats().Endpoints["GET /i/o/{file}"]; n < files || n > files+3*(16+8) || files < 60 {
		t.Errorf("%d requests for %d files", n, files)
	}
	if err := s.SetFaults(); err != nil {
		t.Fatal(err)
	}
	allSaved(t, s, dir, told(t, a, b))
}
