package access

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"

	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
)

// Options configures New. DB is needed; everything else has a usual value.
type Options struct {
	DB  *postgres.DB // not a scoped one: see postgres.OpenScoped
	Log *slog.Logger // nil: nothing is logged
	// PublicURL is where people reach the service, scheme and host alone, such as https://ingest.example.com. "": links are paths, and
	// OpenID Connect cannot be used.
	PublicURL string
	// Secure says that people reach the service by https: cookies are kept to it then, and browsers are told to use nothing else.
	Secure bool
	// ScraperToken is what a scraper shows as a bearer token; empty: no route of Need Scraper is served here.
	ScraperToken secret.Text
	// Proxies are the addresses of reverse proxies. The address that one of them gives as the client's (X-Forwarded-For) is believed.
	Proxies []netip.Prefix
	OIDC    *OIDC // sign-in by OpenID Connect as well; nil: by password only
	// Recheck is after which time it is looked again whether who has a long answer may still have it, such as a stream of events. 0: 30 s.
	Recheck time.Duration
	// LoginFailed is told of every attempt to sign in that is refused, in a word: password, rate, oidc. nil: nobody is.
	LoginFailed func(reason string)
	// Idle and Lifetime are how long a session lasts without being used, and in all. 0: 12 hours, and 7 days.
	Idle, Lifetime time.Duration
}

// Usual values of Options.
const (
	DefaultIdle     = 12 * time.Hour
	DefaultLifetime = 7 * 24 * time.Hour
)

// Gate knows who may do what, and lets nobody else through. It is safe for concurrent use; several processes on one database share
// everything that it knows.
type Gate struct {
	o        Options
	log      *slog.Logger
	users    *Users
	sessions *scs.SessionManager
	store    *sessionStore
	cross    *http.CrossOriginProtection
	oidc     *provider // nil without Options.OIDC
	pages    pages
	recheck  time.Duration // after which it is looked again whether who waits for a long answer may still have it
}

// New prepares a gate. The schema has to be up to date. It does not reach for the OpenID provider yet.
func New(ctx context.Context, o Options) (*Gate, error) {
	if o.DB == nil {
		return nil, errors.New("open the gate: Options.DB is missing")
	}
	g := &Gate{o: o, log: o.Log, recheck: orDuration(o.Recheck, 30*time.Second), cross: http.NewCrossOriginProtection()}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	if g.o.LoginFailed == nil {
		g.o.LoginFailed = func(string) {}
	}
	if o.PublicURL != "" {
		u, err := url.Parse(o.PublicURL)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
			return nil, fmt.Errorf("the public URL %q: want a scheme and a host, such as https://ingest.example.com", o.PublicURL)
		}
		g.o.PublicURL = u.Scheme + "://" + u.Host
		// A proxy may change the Host that a form's Origin is compared with.
		if err := g.cross.AddTrustedOrigin(g.o.PublicURL); err != nil {
			return nil, fmt.Errorf("the public URL %q: %w", o.PublicURL, err)
		}
	}
	g.users = NewUsers(o.DB.Pool())
	if err := g.users.hasher.warm(ctx); err != nil {
		return nil, err
	}
	g.store = &sessionStore{pool: o.DB.Pool(), idle: orDuration(o.Idle, DefaultIdle)}
	g.sessions = g.newSessions(orDuration(o.Lifetime, DefaultLifetime))
	g.cross.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.refuse(w, r, http.StatusForbidden, "This form was sent from another site", "Nothing was changed. Open the page itself, and send it from there.")
	}))
	var err error
	if g.pages, err = newPages(); err != nil {
		return nil, err
	}
	if o.OIDC != nil {
		if g.oidc, err = newProvider(*o.OIDC, g.o.PublicURL); err != nil {
			return nil, err
		}
	}
	return g, nil
}

func orDuration(d, usual time.Duration) time.Duration {
	if d <= 0 {
		return usual
	}
	return d
}

// Secure reports whether people reach the service by https; see Options.
func (g *Gate) Secure() bool { return g.o.Secure }

// Users returns the people that the gate knows.
func (g *Gate) Users() *Users { return g.users }

// FirstLink returns the address at which the first person sets name and password; "" once there is somebody. It works once, for an hour, and
// until the next call. It is a secret: to be shown to who has started the service, and to nobody else.
func (g *Gate) FirstLink(ctx context.Context) (string, error) {
	token, err := g.users.FirstLink(ctx)
	if err != nil || token == "" {
		return "", err
	}
	return g.linkURL(token), nil
}

// linkURL is where a one-time link leads.
func (g *Gate) linkURL(token string) string { return LinkURL(g.o.PublicURL, token) }

// LinkURL is the address of a one-time link, of a service that is reached at publicURL.
func LinkURL(publicURL, token string) string {
	return strings.TrimSuffix(publicURL, "/") + setupPath + "?token=" + token
}

// Audit records what who asks (see Of) has done with an organisation, or with none (the zero UUID). detail must not hold a secret.
func (g *Gate) Audit(ctx context.Context, org record.UUID, action string, detail map[string]string) error {
	if err := writeAudit(ctx, g.o.DB.Pool(), org, action, detail); err != nil {
		return fmt.Errorf("record %q: %w", action, err)
	}
	return nil
}

// Routes are those of the gate itself: signing in and out, the first set-up, people, and the records of what they did.
func (g *Gate) Routes() []Route {
	f := func(h func(http.ResponseWriter, *http.Request)) http.Handler { return http.HandlerFunc(h) }
	anyone, overseer, admin := Policy{Need: Anyone}, Policy{Need: Overseer}, Policy{Need: Member, Role: Admin}
	list := []Route{
		{http.MethodGet, loginPath, anyone, g.withSession(g.showLogin)},
		{http.MethodPost, loginPath, anyone, g.withSession(g.login)},
		{http.MethodPost, logoutPath, anyone, g.withSession(g.logout)},
		{http.MethodGet, setupPath, anyone, g.withSession(g.showSetup)},
		{http.MethodPost, setupPath, anyone, g.withSession(g.setup)},
		{http.MethodGet, accountPath, Policy{Need: Person}, f(g.showAccount)},
		{http.MethodPost, accountPath, Policy{Need: Person}, f(g.changeAccount)},
		{http.MethodGet, peoplePath, overseer, f(g.showPeople)},
		{http.MethodPost, peoplePath, overseer, f(g.changePeople)},
		{http.MethodGet, auditPath, overseer, f(g.showAudit)},
		{http.MethodGet, orgPath + peoplePath, admin, f(g.showMembers)},
		{http.MethodPost, orgPath + peoplePath, admin, f(g.changeMembers)},
		{http.MethodGet, orgPath + auditPath, admin, f(g.showAudit)},
	}
	if g.oidc != nil {
		list = append(list,
			Route{http.MethodGet, oidcPath, anyone, g.withSession(g.startOIDC)},
			Route{http.MethodGet, oidcPath + "/callback", anyone, g.withSession(g.finishOIDC)})
	}
	return list
}

// Where the gate's own pages are.
const (
	loginPath   = "/login"
	oidcPath    = "/login/oidc"
	logoutPath  = "/logout"
	setupPath   = "/setup"
	accountPath = "/account"
	peoplePath  = "/people"
	auditPath   = "/audit"
	orgPath     = "/integrations/intercom/{orgId}"
)
