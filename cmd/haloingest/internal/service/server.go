package service

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/netutil"

	"haloingest/sources/webhook"
)

// Limits of every listener. Webhooks have tighter ones of their own, and event streams have deadlines for each write in place of one for all.
const (
	maxConnections = 4096
	maxHeader      = 32 << 10
	maxBody        = 256 << 10 // of forms; see webhook.MaxBody
	headerWithin   = 5 * time.Second
	bodyWithin     = 15 * time.Second
	answerWithin   = time.Minute
	idleFor        = 2 * time.Minute
	finishWithin   = 20 * time.Second // requests under way at a stop
)

// server is one listener and what answers there.
type server struct {
	http     *http.Server
	listener net.Listener
	url      string // as it is reached on this machine
	failed   chan error
}

// listen takes the address. Nobody is answered before serve.
func listen(ctx context.Context, address string, cert *certificate) (*server, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, &ListenError{address, err}
	}
	scheme := "http"
	if cert != nil {
		scheme = "https"
	}
	url := scheme + "://" + reachable(l.Addr())
	l = netutil.LimitListener(l, maxConnections)
	if cert != nil {
		l = tls.NewListener(l, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: cert.get, NextProtos: []string{"h2", "http/1.1"}})
	}
	return &server{listener: l, url: url, failed: make(chan error, 1)}, nil
}

// ListenError says that an address cannot be listened on.
type ListenError struct {
	Address string
	Err     error
}

func (e *ListenError) Error() string { return fmt.Sprintf("listen on %s: %v", e.Address, e.Err) }

// Unwrap returns the operating system's error.
func (e *ListenError) Unwrap() error { return e.Err }

// reachable is where a listener is reached from this machine: one on all addresses on loopback.
func reachable(a net.Addr) string {
	addr, err := netip.ParseAddrPort(a.String())
	if err != nil || !addr.Addr().IsUnspecified() {
		return a.String()
	}
	return fmt.Sprintf("localhost:%d", addr.Port())
}

// isLoopback reports whether only this machine reaches the listener.
func isLoopback(l net.Listener) bool {
	addr, err := netip.ParseAddrPort(l.Addr().String())
	return err == nil && addr.Addr().Unmap().IsLoopback()
}

// loopbackHost reports whether a host, with or without a port, is this machine by its name.
func loopbackHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// serve answers requests until stop. Their contexts are children of ctx, which a soft stop does not end.
func (s *server) serve(ctx context.Context, h http.Handler, log *slog.Logger) {
	s.http = &http.Server{
		Handler:           limited(h),
		ReadHeaderTimeout: headerWithin,
		WriteTimeout:      answerWithin,
		IdleTimeout:       idleFor,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug), // what clients do wrong
	}
	go func() { s.failed <- s.http.Serve(s.listener) }()
}

// stop accepts nothing more, lets requests under way finish for a while, and cuts the rest. When ctx is done it cuts at once.
func (s *server) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, finishWithin)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		_ = s.http.Close() // its connections are cut; there is nobody left to tell
	}
	if serr := <-s.failed; !errors.Is(serr, http.ErrServerClosed) {
		return serr
	}
	return nil
}

// limited bounds the bodies of requests, in size and in time.
func limited(h http.Handler) http.Handler {
	hooks, _, _ := strings.Cut(webhook.Path, "{")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner := r.WithContext(r.Context()) // a copy: by the body of its own the server knows how to go on
		switch {
		case strings.HasPrefix(r.URL.Path, hooks):
			// The handler has its own limits. This one is here because only the server's own ResponseWriter can be told to hang up on who sends more.
			inner.Body = http.MaxBytesReader(w, r.Body, webhook.MaxBody)
		case r.ContentLength != 0:
			// Not http.Server.ReadTimeout: that would end the context of an event stream.
			control := http.NewResponseController(w)
			_ = control.SetReadDeadline(time.Now().Add(bodyWithin)) // every connection of a server knows deadlines
			inner.Body = &timed{http.MaxBytesReader(w, r.Body, maxBody), control}
		}
		h.ServeHTTP(&stream{ResponseWriter: w}, inner)
	})
}

// timed is a body that is to come in time. Once it has, there is no deadline any more: it would end the request's context.
type timed struct {
	io.ReadCloser
	control *http.ResponseController
}

func (t *timed) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	if err == io.EOF {
		_ = t.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// stream lets an answer that is an event stream go on for as long as its reader takes what it is sent.
type stream struct {
	http.ResponseWriter
	begun, events bool
}

func (s *stream) begin() {
	if s.begun {
		return
	}
	s.begun = true
	s.events = strings.HasPrefix(s.Header().Get("Content-Type"), "text/event-stream")
}

func (s *stream) deadline() {
	if s.events {
		_ = http.NewResponseController(s.ResponseWriter).SetWriteDeadline(time.Now().Add(answerWithin))
	}
}

func (s *stream) WriteHeader(status int) {
	s.begin()
	s.ResponseWriter.WriteHeader(status)
}

func (s *stream) Write(p []byte) (int, error) {
	s.begin()
	s.deadline()
	return s.ResponseWriter.Write(p)
}

// FlushError is what http.ResponseController.Flush calls.
func (s *stream) FlushError() error {
	s.begin()
	s.deadline()
	return http.NewResponseController(s.ResponseWriter).Flush()
}

// Flush is FlushError for those who ask for an http.Flusher.
func (s *stream) Flush() { _ = s.FlushError() }

// Unwrap is for http.ResponseController.
func (s *stream) Unwrap() http.ResponseWriter { return s.ResponseWriter }
