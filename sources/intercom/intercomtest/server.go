package intercomtest

import (
	"net"
	"net/http"
	"testing"
	"time"
)

// Server is a workspace behind a loopback listener.
type Server struct {
	*Workspace
	// URL is the base of the API, without a slash at the end.
	URL string
	// Token is the access token that it takes.
	Token string
}

// Start serves a workspace on loopback until the test ends.
func Start(tb testing.TB, o Options) *Server {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("listen for the simulated workspace: %v", err)
	}
	if o.BaseURL == "" {
		o.BaseURL = "http://" + l.Addr().String()
	}
	w, err := New(o)
	if err != nil {
		_ = l.Close()
		tb.Fatalf("make the simulated workspace: %v", err)
	}
	srv := NewHTTPServer(w)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l) // always http.ErrServerClosed, from the clean-up below
	}()
	tb.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return &Server{Workspace: w, URL: o.BaseURL, Token: w.opts.Token}
}

// NewHTTPServer gives a server of a workspace; the caller has it listen and
// closes it.
func NewHTTPServer(w *Workspace) *http.Server {
	return &http.Server{Handler: w, ReadHeaderTimeout: 10 * time.Second}
}
