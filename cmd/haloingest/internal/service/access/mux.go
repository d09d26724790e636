package access

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
)

// Mux serves the routes, each to who may have it, and nothing else. It refuses routes that say no policy or none that fits them, and two of
// the same. Every answer has strict headers; a form that another site sends reaches no handler but those of Need Signed.
//
// Handlers find who asks with Of. Those of Need Member run under postgres.WithOrg of the organisation that the path names.
func (g *Gate) Mux(routes []Route) (http.Handler, error) {
	// Signed routes come first, and apart: .../webhook/{orgId} and .../{orgId}/status are both in the contract, and one mux takes no two patterns of
	// which neither is the more special.
	signed, mux := http.NewServeMux(), http.NewServeMux()
	var wrong []error
	for _, r := range routes {
		err := r.check()
		if err == nil {
			into := mux
			if r.Policy.Need == Signed {
				into = signed
			}
			err = register(into, r, g.guarded(r))
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("route %s %s: %w", r.Method, r.Pattern, err))
		}
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	return g.secured(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := signed.Handler(r); pattern != "" {
			signed.ServeHTTP(w, r)
			return
		}
		h, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		// What the mux itself would say of a path or a method that there is not.
		said := &verdict{header: http.Header{}, status: http.StatusNotFound}
		h.ServeHTTP(said, r)
		if allow := said.header.Get("Allow"); allow != "" {
			w.Header().Set("Allow", allow)
		}
		g.refuse(w, r, said.status, "", "")
	})), nil
}

// verdict keeps the status of an answer that is not sent.
type verdict struct {
	header http.Header
	status int
}

func (v *verdict) Header() http.Header         { return v.header }
func (v *verdict) WriteHeader(status int)      { v.status = status }
func (v *verdict) Write(b []byte) (int, error) { return len(b), nil }

// orgValue is the path value that names an organisation.
const orgValue = "orgId"

var pathForm = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+|/\{[A-Za-z]+\})*(/\{\$\})?$`)

// check says what is wrong with a route.
func (r Route) check() error {
	ofOrg := strings.Contains(r.Pattern, "/{"+orgValue+"}")
	switch {
	case r.Handler == nil:
		return errors.New("it has no handler")
	case r.Pattern == "" || !pathForm.MatchString(r.Pattern):
		return errors.New("the pattern must be the path of one page, such as /people, /{$} or /integrations/intercom/{orgId}")
	case r.Policy.Need == Unsaid:
		return errors.New("it does not say who may have it")
	case r.Policy.Need < Unsaid || r.Policy.Need > Overseer:
		return fmt.Errorf("need %d is not known", r.Policy.Need)
	case r.Method == "" && r.Policy.Need != Anyone && r.Policy.Need != Signed:
		return errors.New("only what anybody may have, or is signed, is for every method")
	case r.Method != "" && !slices.Contains(methods, r.Method):
		return errors.New("the method is not known")
	case r.Policy.Need == Member && !ofOrg:
		return errors.New("it is for members, but its path has no {" + orgValue + "} to say of which organisation")
	case r.Policy.Need == Member && (r.Policy.Role < Viewer || r.Policy.Role > Admin):
		return errors.New("it is for members, but does not say with which role")
	case r.Policy.Need != Member && r.Policy.Role != NoRole:
		return errors.New("it asks for a role, but is not for members")
	case ofOrg && r.Policy.Need != Member && r.Policy.Need != Signed && r.Policy.Need != Overseer:
		return errors.New("it is about one organisation, but not only for its members")
	}
	return nil
}

var methods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// register adds a route. The mux panics where two patterns are for the same requests.
func register(mux *http.ServeMux, r Route, h http.Handler) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("%v", fault)
		}
	}()
	mux.Handle(strings.TrimSpace(r.Method+" "+r.Pattern), h)
	return nil
}

// guarded is the handler of a route behind what it needs.
func (g *Gate) guarded(r Route) http.Handler {
	h := r.Handler
	switch r.Policy.Need {
	case Signed:
		return h // no browser: the signature is of the body, which the handler bounds itself
	case Scraper:
		return private(g.bounded(g.forScraper(h)))
	case Anyone:
		return g.cross.Handler(g.bounded(h))
	}
	return private(g.cross.Handler(g.bounded(g.identified(g.allowed(r.Policy, h)))))
}

func (g *Gate) forScraper(next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(g.o.ScraperToken.Reveal()))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := sha256.Sum256([]byte(bearer(r)))
		if g.o.ScraperToken.IsEmpty() || subtle.ConstantTimeCompare(want[:], got[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			g.refuse(w, r, http.StatusUnauthorized, "This needs the metrics token", "It is shown as a bearer token.")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// allowed lets through who has what the policy needs. The identity is in the context.
func (g *Gate) allowed(p Policy, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := Of(r.Context())
		if who.User.IsZero() {
			g.askWho(w, r)
			return
		}
		switch p.Need {
		case Overseer:
			if !who.Overseer {
				g.refuse(w, r, http.StatusForbidden, "", "Only who looks after this installation may see this.")
				return
			}
		case Member:
			org, err := record.ParseUUID(r.PathValue(orgValue))
			// To who is not a member, an organisation that is there looks like one that is not.
			if err != nil || org.IsZero() || who.Role(org) == NoRole {
				g.refuse(w, r, http.StatusNotFound, "", "")
				return
			}
			if who.Role(org) < p.Role {
				g.refuse(w, r, http.StatusForbidden, "", fmt.Sprintf("This takes the role %s in this organisation; yours is %s.", p.Role, who.Role(org)))
				return
			}
			r = r.WithContext(postgres.WithOrg(r.Context(), org))
		case Person:
		default:
			g.refuse(w, r, http.StatusForbidden, "", "")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// askWho answers nobody: a page leads to where one signs in, and from there back.
func (g *Gate) askWho(w http.ResponseWriter, r *http.Request) {
	if isAPI(r) {
		w.Header().Set("WWW-Authenticate", "Bearer")
		g.refuse(w, r, http.StatusUnauthorized, "", "Sign in, or show a token: Authorization: Bearer hi_...")
		return
	}
	to := loginPath
	if r.Method == http.MethodGet && r.URL.RequestURI() != "/" {
		to += "?next=" + url.QueryEscape(r.URL.RequestURI())
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// bearer is the token of the Authorization header.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// identified finds out who asks, by session or, of scripts that read, by token. While an answer takes long, such as a stream of events, it is
// looked now and then whether that still holds; the request's context ends when it does not.
func (g *Gate) identified(next http.Handler) http.Handler {
	withSession := g.withSession(func(w http.ResponseWriter, r *http.Request) {
		c := g.claimOf(r.Context())
		g.serveAs(w, r, c, next)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := bearer(r)
		if token == "" || !isAPI(r) || r.Method != http.MethodGet && r.Method != http.MethodHead {
			withSession.ServeHTTP(w, r)
			return
		}
		g.serveAs(w, r, claim{bearer: digest(token)}, next)
	})
}

func (g *Gate) serveAs(w http.ResponseWriter, r *http.Request, c claim, next http.Handler) {
	who, err := g.users.identify(r.Context(), c, g.store.idle)
	if err != nil {
		g.failed(w, r, err)
		return
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	if !who.User.IsZero() {
		defer g.watch(ctx, c, who, cancel)()
	}
	next.ServeHTTP(w, r.WithContext(With(ctx, who)))
}

// failed answers where the database did not.
func (g *Gate) failed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // nobody waits for it
	}
	status := http.StatusInternalServerError
	if postgres.Transient(err) {
		status = http.StatusServiceUnavailable
	}
	g.log.ErrorContext(r.Context(), "a request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	g.refuse(w, r, status, "", "")
}
