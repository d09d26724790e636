package metric

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Middleware counts, times, traces and logs requests. route is the pattern under which next is mounted; where it is "", it is the pattern
// that a ServeMux within next has found (it notes it in the request), or what Note was told. A path is never shown: links of first set-ups
// and of webhooks have secrets and ids in them.
//
// It may stand outside of everything else, so that what is refused is counted as well.
func (m *Metrics) Middleware(route string, next http.Handler) http.Handler {
	if m == nil {
		return next
	}
	return m.tracer.handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		note := &note{route: route}
		r = r.WithContext(context.WithValue(r.Context(), noteKey{}, note))
		a := &answer{ResponseWriter: w, m: m}
		m.inFlight.Inc()
		done := false
		defer func() {
			a.end()
			if note.route == "" {
				note.route = patternOf(r)
			}
			if !done && a.status == 0 {
				a.status = http.StatusInternalServerError // a panic, which the server makes of it
			}
			m.ended(r, a, note, time.Since(began))
		}()
		next.ServeHTTP(a, r)
		done = true
	}))
}

// noRoute stands for paths that are not served, of which visitors think of many.
const noRoute = "none"

// patternOf is the path of the pattern that a ServeMux has found for the request.
func patternOf(r *http.Request) string {
	_, path, ok := strings.Cut(r.Pattern, " ")
	if !ok {
		path = r.Pattern
	}
	if path == "" {
		return noRoute
	}
	return path
}

type noteKey struct{}

// note is what is learnt of a request while it is answered.
type note struct{ route, user string }

// Note tells the Middleware around ctx which route a request took and who sent it (an id, never a name or address). "" leaves what is known. Only
// the goroutine that answers the request may call it.
func Note(ctx context.Context, route, user string) {
	n, ok := ctx.Value(noteKey{}).(*note)
	if !ok {
		return
	}
	if route != "" {
		n.route = route
	}
	if user != "" {
		n.user = user
	}
}

// methods that are told apart.
var methods = map[string]bool{
	http.MethodGet: true, http.MethodHead: true, http.MethodPost: true, http.MethodPut: true, http.MethodPatch: true, http.MethodDelete: true,
	http.MethodOptions: true,
}

func (m *Metrics) ended(r *http.Request, a *answer, n *note, took time.Duration) {
	n.route = strings.TrimSuffix(n.route, "{$}") // which says that nothing may follow
	method := r.Method
	if !methods[method] {
		method = "other"
	}
	if a.status == 0 {
		a.status = http.StatusOK
	}
	m.requests.WithLabelValues(n.route, method, strconv.Itoa(a.status)).Inc()
	if !a.stream {
		m.duration.WithLabelValues(n.route, method).Observe(took.Seconds())
	}
	m.tracer.answered(r.Context(), method, n.route, a.status)
	level := levelOf(n.route, a.status)
	if !m.log.Enabled(r.Context(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", method), slog.String("route", n.route), slog.Int("status", a.status),
		slog.Float64("seconds", float64(took.Round(time.Microsecond))/float64(time.Second)), slog.Int64("bytes", a.bytes), slog.String("remote", hostOf(r.RemoteAddr)),
	}
	if org := r.PathValue("orgId"); org != "" && a.status < http.StatusBadRequest {
		attrs = append(attrs, slog.String("org", org)) // what was served is an id, and nothing that a visitor has thought of
	}
	if n.user != "" {
		attrs = append(attrs, slog.String("user", n.user))
	}
	m.log.LogAttrs(r.Context(), level, "answered a request", attrs...)
}

// levelOf is at which level a request is logged. What comes often and went well is for those who look for something.
func levelOf(route string, status int) slog.Level {
	switch {
	case status >= 500:
		return slog.LevelError
	case status >= 400 || status < 300 && quiet(route):
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

func quiet(route string) bool {
	switch route {
	case "/healthz", "/readyz", "/metrics":
		return true
	}
	return strings.HasPrefix(route, "/assets/") || strings.Contains(route, "/webhook/")
}

func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

// answer is a ResponseWriter that remembers what was answered.
type answer struct {
	http.ResponseWriter
	m      *Metrics
	status int
	bytes  int64
	stream bool // it is an event stream
	ended  bool
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		a.status = status
		if strings.HasPrefix(a.Header().Get("Content-Type"), "text/event-stream") {
			a.stream = true
			a.m.inFlight.Dec()
			a.m.streams.Inc()
		}
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	n, err := a.ResponseWriter.Write(b)
	a.bytes += int64(n)
	return n, err
}

func (a *answer) end() {
	if a.stream {
		a.m.streams.Dec()
		return
	}
	a.m.inFlight.Dec()
}

// Unwrap is for http.ResponseController: flushes and deadlines pass.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
