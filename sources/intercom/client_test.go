package intercom_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"haloingest/pipeline/record"
	"haloingest/sources/intercom"
	"haloingest/sources/intercom/intercomtest"
)

func TestNewRefusesWhatCannotWork(t *testing.T) {
	for _, c := range []struct {
		name, region, token string
		o                   intercom.Options
		want                string
	}{
		{"an unknown region", "mars", "t", intercom.Options{}, `region "mars"`},
		{"no token", "us", " \n", intercom.Options{}, "token is empty"},
		{"a token with a line break", "us", "a\nb", intercom.Options{}, "characters that no token has"},
		{"plain http to another machine", "us", "t", intercom.Options{BaseURL: "http://intercom.example"}, "loopback addresses only"},
		{"plain http to a name that only begins like loopback", "us", "t", intercom.Options{BaseURL: "http://127.0.0.1.example"}, "loopback addresses only"},
		{"another scheme", "us", "t", intercom.Options{BaseURL: "ftp://127.0.0.1"}, "want https://host"},
		{"no host", "us", "t", intercom.Options{BaseURL: "https://"}, "want https://host"},
		{"a password in the address", "us", "t", intercom.Options{BaseURL: "https://u:hush@host"}, "want https://host"},
		{"a version that is none", "us", "t", intercom.Options{Version: "new"}, `version "new"`},
		{"a negative ceiling", "us", "t", intercom.Options{RequestsPerMinute: -1}, "negative"},
	} {
		_, err := intercom.New(c.region, c.token, c.o)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: the error holds the password", c.name)
		}
	}
	for region, host := range map[string]string{"us": "api.intercom.io", "EU": "api.eu.intercom.io", "au": "api.au.intercom.io"} {
		c, err := intercom.New(region, "t\n", intercom.Options{})
		if err != nil || c.String() != "Intercom at "+host {
			t.Errorf("region %s: %v, %v", region, c, err)
		}
	}
	for _, loopback := range []string{"http://localhost:1", "http://127.8.0.1:1", "http://[::1]:1"} {
		if _, err := intercom.New("us", "t", intercom.Options{BaseURL: loopback}); err != nil {
			t.Errorf("%s: %v", loopback, err)
		}
	}
}

func TestEveryRequestCarriesWhatIntercomAsksFor(t *testing.T) {
	var bad atomic.Value
	s := intercomtest.Start(t, small(intercomtest.Options{}))
	f := front{handle: func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		if r.Header.Get("Intercom-Version") != "2.16" || r.Header.Get("Accept") != "application/json" || r.Header.Get("Accept-Encoding") != "gzip" ||
			r.Header.Get("Authorization") != "Bearer "+s.Token || (len(body) > 0) != (r.Header.Get("Content-Type") == "application/json") {
			bad.Store(fmt.Sprint(r.Method, " ", r.URL.Path, " ", r.Header))
		}
		return false
	}}.start(t, s)
	c := connect(t, f)
	if _, _, err := c.Reference(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, kind := range record.Kinds {
		if _, err := whole(t, c, source(c, kind), nil); err != nil {
			t.Fatal(err)
		}
	}
	if v := bad.Load(); v != nil {
		t.Error(v)
	}
	if v := s.Stats().Violations; len(v) > 0 {
		t.Errorf("writing requests: %v", v)
	}
}

// answers is a server that gives one answer to everything.
func answers(t *testing.T, h http.HandlerFunc) (*intercom.Client, *atomic.Int64) {
	var n atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		h(w, r)
	}))
	t.Cleanup(server.Close)
	o := fast(server.URL)
	o.MaxAttempts, o.MaxBody = 3, 1<<20
	c, err := intercom.New("us", "hush-hush-token", o)
	if err != nil {
		t.Fatal(err)
	}
	return c, &n
}

func TestNoRedirectLeavesTheHost(t *testing.T) {
	var elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		c, n := answers(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL+"/me", status) })
		_, err := c.Fetch(t.Context(), record.KindContact, "1")
		var e *intercom.Error
		if !errors.As(err, &e) || e.Status != status || e.Class != intercom.ClassRequest || !strings.Contains(e.Hint, "redirects") || n.Load() != 1 {
			t.Errorf("%d: error %v after %d requests, want a refusal", status, err, n.Load())
		}
	}
	if elsewhere.Load() != 0 {
		t.Error("another host was asked")
	}
}

func TestTheTokenIsInNoTextOfThePackage(t *testing.T) {
	var log bytes.Buffer
	echo := func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/contacts/1":
			w.WriteHeader(500)
		case "/contacts/2":
			conn, _, _ := w.(http.Hijacker).Hijack()
			conn.Close()
			return
		case "/contacts/3":
			fmt.Fprintf(w, `not json %s`, r.Header.Get("Authorization"))
			return
		default:
			w.WriteHeader(401)
		}
		fmt.Fprintf(w, `{"type":"error.list","errors":[{"code":"unauthorized","message":"bad header %s"}]}`, r.Header.Get("Authorization"))
	}
	server := httptest.NewServer(http.HandlerFunc(echo))
	defer server.Close()
	o := fast(server.URL)
	o.MaxAttempts, o.Log = 2, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c, err := intercom.New("us", "hush-hush-token", o)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, id := range []string{"1", "2", "3", "4"} {
		_, err := c.Fetch(t.Context(), record.KindContact, id)
		if err == nil {
			t.Fatal("no error")
		}
		fmt.Fprintf(&text, "%v %+v %#v %q\n", err, err, err, err)
		slog.New(slog.NewJSONHandler(&text, nil)).Error("failed", "err", err, "client", c)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		fmt.Fprintf(&text, format, c)
		fmt.Fprintf(&text, format, intercom.NewDetails(c, intercom.DetailOptions{}))
		fmt.Fprintf(&text, format, intercom.NewContacts(c, intercom.StreamOptions{}))
	}
	fmt.Fprint(&text, c.Stats(), log.String())
	if strings.Contains(text.String(), "hush") || strings.Contains(text.String(), fmt.Sprintf("%x", "hush")) {
		t.Errorf("the token is in:\n%s", text.String())
	}
	if !strings.Contains(text.String(), "[token]") {
		t.Error("the server's echo was not met, the test is empty")
	}
}

func TestBodiesThatAreNotWholeAreReadAgain(t *testing.T) {
	good := `{"type":"contact","id":"1"}`
	for name, bad := range map[string]http.HandlerFunc{
		"empty":         func(w http.ResponseWriter, _ *http.Request) {},
		"blanks":        func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, " \n ") },
		"half":          func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, good[:10]) },
		"two":           func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, good+good) },
		"HTML":          func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") },
		"HTML with 504": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(504); io.WriteString(w, "<html>") },
		"a bare 404":    func(w http.ResponseWriter, _ *http.Request) { http.NotFound(w, nil) },
		"408":           func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(408) },
		"no connection": func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) },
		"a shorter body": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "99")
			io.WriteString(w, good)
		},
		"gzip that is no": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			io.WriteString(w, good)
		},
		"half a gzip": func(w http.ResponseWriter, _ *http.Request) {
			var buf bytes.Buffer
			z := gzip.NewWriter(&buf)
			io.WriteString(z, strings.Repeat(good, 99))
			z.Close()
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(buf.Bytes()[:buf.Len()-12])
		},
	} {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int64
			c, asked := answers(t, func(w http.ResponseWriter, r *http.Request) {
				if n.Add(1) < 3 {
					bad(w, r)
					return
				}
				io.WriteString(w, good)
			})
			o, err := c.Fetch(t.Context(), record.KindContact, "1")
			if err != nil || string(o.Body) != good || asked.Load() != 3 {
				t.Errorf("%+v, %v after %d requests; want the object after 3", o, err, asked.Load())
			}
			if st := c.Stats(); st.Retries != 2 || st.Total != 3 {
				t.Errorf("stats %+v", st)
			}
		})
	}
}

func TestGzipIsUnpacked(t *testing.T) {
	c, _ := answers(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		io.WriteString(z, `{"id":"1"}`)
		z.Close()
	})
	if o, err := c.Fetch(t.Context(), record.KindContact, "1"); err != nil || string(o.Body) != `{"id":"1"}` {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestABombIsNotUnpackedWhole(t *testing.T) {
	c, n := answers(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		block := bytes.Repeat([]byte{' '}, 1<<20)
		for range 64 {
			if _, err := z.Write(block); err != nil {
				return
			}
		}
		z.Close()
	})
	_, err := c.Fetch(t.Context(), record.KindContact, "1")
	if !errors.Is(err, intercom.ErrTooLarge) || n.Load() != 1 {
		t.Errorf("error %v after %d requests, want that it is too large, at once", err, n.Load())
	}
}

func TestRetryAfterIsObeyed(t *testing.T) {
	var n atomic.Int64
	var first time.Time
	c, _ := answers(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 1 {
			first = time.Now()
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(503)
			return
		}
		io.WriteString(w, `{"id":"1"}`)
	})
	if _, err := c.Fetch(t.Context(), record.KindContact, "1"); err != nil {
		t.Fatal(err)
	}
	if waited := time.Since(first); waited < time.Second {
		t.Errorf("tried again after %v, want a second or more", waited)
	}
}

func TestACancelledRequestEndsWithTheCause(t *testing.T) {
	c, _ := answers(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	cause := errors.New("first interrupt")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(cause) })
	_, err := c.Fetch(ctx, record.KindContact, "1")
	if !errors.Is(err, cause) {
		t.Errorf("error %v, want the cause", err)
	}
	if _, ok := intercom.ClassOf(err); ok {
		t.Error("an interrupt is no error of Intercom's")
	}
}

func TestStatsNameEndpointsWithoutIds(t *testing.T) {
	s := intercomtest.Start(t, small(intercomtest.Options{RateLimit: 60_000}))
	c := connect(t, s)
	if _, err := whole(t, c, paged(c, record.KindConversation), nil); err != nil {
		t.Fatal(err)
	}
	st, seen := c.Stats(), s.Stats()
	for name, n := range seen.Endpoints {
		if st.Requests[name] != n {
			t.Errorf("%s: %d counted, %d made", name, st.Requests[name], n)
		}
	}
	if st.Total != seen.Requests || st.Bytes < 100*500 || st.Throttled != 0 || st.WindowLimit != 10_000 || st.PerMinute != 60_000 || st.Share <= 0 {
		t.Errorf("stats %+v", st)
	}
	if names := st.Endpoints(); names[0] != "GET /conversations/{id}" {
		t.Errorf("the busiest endpoint is %s", names[0])
	}
}
