package service

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/service/access"
	"haloingest/cmd/haloingest/internal/service/frame"
	"haloingest/cmd/haloingest/internal/service/metric"
	"haloingest/sources/webhook"
)

// openRoutes makes the one table of routes, and the handler of it. There is no other way to be served.
func (s *service) openRoutes(context.Context) error {
	anyone := access.Policy{Need: access.Anyone}
	routes := []access.Route{
		{Method: http.MethodGet, Pattern: "/healthz", Policy: anyone, Handler: http.HandlerFunc(alive)},
		{Method: http.MethodGet, Pattern: "/readyz", Policy: anyone, Handler: s.ready},
		{Method: http.MethodGet, Pattern: frame.AssetsPath, Policy: anyone, Handler: frame.Assets()},
		{Pattern: webhook.Path, Policy: access.Policy{Need: access.Signed}, Handler: s.hooks},
		{Method: http.MethodGet, Pattern: StatusPath, Policy: access.Policy{Need: access.Member, Role: access.Viewer}, Handler: &statusHandler{
			db: s.pages, connections: connection.NewStore(s.pages.Pool(), s.Master), jobs: s.queue.Jobs, log: s.log,
		}},
	}
	if r, ok := s.metricsRoute(); ok {
		routes = append(routes, r)
		s.metricsURL = s.main.url + metricsPath
	}
	routes = append(append(routes, s.gate.Routes()...), s.site.Routes()...)
	s.routes = slices.Clone(routes)
	for i := range routes {
		r := &routes[i]
		pattern, inner := r.Pattern, r.Handler
		r.Handler = http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			if who := access.Of(q.Context()).User; !who.IsZero() {
				metric.Note(q.Context(), pattern, who.String())
			}
			inner.ServeHTTP(w, q)
		})
	}
	guarded, err := s.gate.Mux(routes)
	if err != nil {
		return err
	}
	// Of what is refused, no handler is there to say where it was going. Mux has seen that no two are the same.
	signed, patterns := http.NewServeMux(), http.NewServeMux()
	for _, r := range routes {
		into := patterns
		if r.Policy.Need == access.Signed {
			into = signed
		}
		into.Handle(r.Method+" "+r.Pattern, http.NotFoundHandler())
	}
	s.handler = s.metrics.Middleware("", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, pattern := signed.Handler(r)
		if pattern == "" {
			_, pattern = patterns.Handler(r)
		}
		if i := strings.IndexByte(pattern, '/'); i >= 0 {
			metric.Note(r.Context(), pattern[i:], "")
		}
		guarded.ServeHTTP(w, r)
	}))
	return nil
}

// metricsPath is where figures are read.
const metricsPath = "/metrics"

// metricsRoute is the route of /metrics on the main listener, if it is there: with a token, for who shows it; without one, and without a
// listener of its own, for this machine alone, which is the case only where nobody else reaches the listener, not even by a proxy.
func (s *service) metricsRoute() (access.Route, bool) {
	r := access.Route{Method: http.MethodGet, Pattern: metricsPath, Handler: s.metrics.Handler()}
	switch {
	case s.figures != nil:
		s.metricsURL = s.figures.url + metricsPath
		return r, false
	case !s.MetricsToken.IsEmpty():
		r.Policy.Need = access.Scraper
		return r, true
	case isLoopback(s.main.listener) && loopbackHost(hostOf(s.public)):
		r.Policy.Need = access.Anyone
		r.Handler = fromHere(r.Handler)
		return r, true
	}
	s.log.Info("figures are not served: give --metrics-token-file, or --metrics-listen for an address that only your scraper reaches")
	return r, false
}

// fromHere answers who knows this machine by a name of loopback: a page of the web that has got its own name to lead here does not.
func fromHere(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !loopbackHost(r.Host) {
			frame.Error(w, http.StatusNotFound, "", "")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// figuresHandler is what the listener of --metrics-listen serves.
func (s *service) figuresHandler() (http.Handler, error) {
	need := access.Anyone
	if !s.MetricsToken.IsEmpty() {
		need = access.Scraper
	}
	return s.gate.Mux([]access.Route{
		{Method: http.MethodGet, Pattern: metricsPath, Policy: access.Policy{Need: need}, Handler: s.metrics.Handler()},
		{Method: http.MethodGet, Pattern: "/healthz", Policy: access.Policy{Need: access.Anyone}, Handler: http.HandlerFunc(alive)},
		{Method: http.MethodGet, Pattern: "/readyz", Policy: access.Policy{Need: access.Anyone}, Handler: s.ready},
	})
}

// hostOf is the host of an address, with its port.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}
