// Package site is the integration page: what an organisation's ingest is doing and has done, and the forms that connect, configure, start, stop
// and disconnect it. Pages are whole without a script; with one, what changes is brought up to date by server-sent events.
//
// Everything that comes from outside (names, errors, ids, reasons) is taken for hostile: it is escaped by html/template, made visible
// and cut by package page, and stands in an element of its own direction.
package site

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/onboard"
	"haloingest/cmd/haloingest/internal/service/access"
	"haloingest/cmd/haloingest/internal/service/frame"
	"haloingest/cmd/haloingest/internal/service/work"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
)

//go:embed templates
var files embed.FS

// Options of New. All but Log, PublicURL and Program are needed.
type Options struct {
	DB          *postgres.DB      // best a scoped one: see postgres.OpenScoped
	Connections *connection.Store // over DB
	// Every is over a database that shows all organisations, for the list of who looks after the installation; nil: Connections.
	Every   *connection.Store
	Onboard *onboard.Desk
	Queue   *work.Queue
	// Audit keeps who has done what; nothing is done whose record fails.
	Audit     func(ctx context.Context, org record.UUID, action string, detail map[string]string) error
	SyncEvery time.Duration // between two syncs: where the last one ended twice as long ago, it is late; 0: work.DefaultSyncEvery
	PublicURL string        // scheme and host under which Intercom reaches the service; "": that of the request
	Program   string        // name and version, for the checklist
	Log       *slog.Logger  // nil: nothing is logged
}

// Site serves the pages. It is safe for concurrent use. End it with Close.
type Site struct {
	o     Options
	pages map[string]*frame.Page
	watch *watchers
}

// New parses the pages. It starts nothing until somebody looks.
func New(o Options) (*Site, error) {
	if o.DB == nil || o.Connections == nil || o.Onboard == nil || o.Queue == nil || o.Audit == nil {
		return nil, errors.New("open the site: an option is missing")
	}
	if o.Every == nil {
		o.Every = o.Connections
	}
	if o.SyncEvery <= 0 {
		o.SyncEvery = work.DefaultSyncEvery
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Site{o: o, pages: map[string]*frame.Page{}}
	common, err := files.ReadFile("templates/common.html")
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"home", "overview", "runs", "run", "rejects", "checklist", "settings", "connect", "fields", "disconnect"} {
		text, err := files.ReadFile("templates/" + name + ".html")
		if err != nil {
			return nil, err
		}
		if s.pages[name], err = frame.New(name, string(common), string(text)); err != nil {
			return nil, err
		}
	}
	s.watch = newWatchers(s)
	return s, nil
}

// Close ends all streams of events and what looks for them.
func (s *Site) Close() { s.watch.close() }

// orgPath is the page of an organisation.
const orgPath = "/integrations/intercom/{orgId}"

// WebhookPath is where Intercom sends an organisation's webhooks to (contract, "HTTP").
const WebhookPath = "/api/integrations/intercom/webhook/"

// Routes are all pages and forms with what they need.
func (s *Site) Routes() []access.Route {
	get := func(path string, role access.Role, h handler) access.Route {
		return access.Route{Method: http.MethodGet, Pattern: orgPath + path, Policy: access.Policy{Need: access.Member, Role: role}, Handler: s.handle(h)}
	}
	post := func(path string, role access.Role, h handler) access.Route {
		r := get(path, role, h)
		r.Method = http.MethodPost
		return r
	}
	return []access.Route{
		{Method: http.MethodGet, Pattern: "/{$}", Policy: access.Policy{Need: access.Person}, Handler: s.handle(s.home)},
		{Method: http.MethodPost, Pattern: "/organisations", Policy: access.Policy{Need: access.Overseer}, Handler: s.handle(s.addOrg)},
		get("", access.Viewer, s.overview),
		get("/events", access.Viewer, s.events),
		get("/runs", access.Viewer, s.runs),
		get("/runs/{run}", access.Viewer, s.run),
		get("/rejects", access.Viewer, s.rejects),
		get("/checklist", access.Viewer, s.checklist),
		get("/settings", access.Viewer, s.settings),
		post("/sync", access.Operator, s.sync),
		post("/backfill", access.Operator, s.backfill),
		post("/try-now", access.Operator, s.tryNow),
		post("/rejects/retry", access.Operator, s.retry),
		post("/ingest", access.Operator, s.ingest),
		get("/connect", access.Admin, s.connectForm),
		post("/connect", access.Admin, s.checkToken),
		get("/connect/fields", access.Admin, s.connectFields),
		post("/connect/fields", access.Admin, s.connect),
		post("/connect/cancel", access.Admin, s.cancelConnect),
		get("/fields", access.Admin, s.fieldsForm),
		post("/fields", access.Admin, s.changeFields),
		post("/refresh", access.Admin, s.refresh),
		post("/webhook-secret", access.Admin, s.webhookSecret),
		post("/read-again", access.Admin, s.readAgain),
		get("/disconnect", access.Admin, s.disconnectForm),
		post("/disconnect", access.Admin, s.disconnect),
	}
}

// handler answers a request, or says why it could not.
type handler func(w http.ResponseWriter, r *http.Request) error

func (s *Site) handle(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			r.Body = http.MaxBytesReader(w, r.Body, maxForm)
			if err := r.ParseForm(); err != nil {
				s.badForm(w, err)
				return
			}
		}
		if err := h(w, r); err != nil {
			s.fail(w, r, err)
		}
	})
}

// maxForm bounds what a form may send.
const maxForm = 64 << 10

func (s *Site) badForm(w http.ResponseWriter, err error) {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		frame.Error(w, http.StatusRequestEntityTooLarge, "", "")
		return
	}
	frame.Error(w, http.StatusBadRequest, "", "")
}

// fail answers with the page for an error. What it says is ours: the error itself goes to the log.
func (s *Site) fail(w http.ResponseWriter, r *http.Request, err error) {
	var elsewhere redirect
	switch {
	case errors.As(err, &elsewhere):
		http.Redirect(w, r, string(elsewhere), http.StatusSeeOther)
	case r.Context().Err() != nil: // nobody waits for an answer
	case errors.Is(err, errNothing), errors.Is(err, postgres.ErrNotFound):
		frame.Error(w, http.StatusNotFound, "", "")
	case errors.Is(err, connection.ErrNotConnected) && r.PathValue("orgId") != "":
		http.Redirect(w, r, withSaid(orgURL(r.PathValue("orgId")), "not-connected"), http.StatusSeeOther)
	case away(err):
		s.o.Log.Warn("a page cannot be shown", "path", r.URL.Path, "error", err)
		frame.Error(w, http.StatusServiceUnavailable, "", "")
	default:
		s.o.Log.Error("a page failed", "method", r.Method, "path", r.URL.Path, "error", err)
		frame.Error(w, http.StatusInternalServerError, "", "")
	}
}

// away reports whether an error says that the database cannot be reached, or does not answer in time.
func away(err error) bool {
	return postgres.Transient(err) || errors.Is(err, context.DeadlineExceeded)
}

var errNothing = errors.New("there is nothing here")

// redirect is an error that leads elsewhere.
type redirect string

func (r redirect) Error() string { return "see " + string(r) }

// to leads to a page, which says what became of what was asked for.
func to(path, code string, more ...string) error {
	u := withSaid(path, code)
	for i := 0; i+1 < len(more); i += 2 {
		u += "&" + url.QueryEscape(more[i]) + "=" + url.QueryEscape(more[i+1])
	}
	return redirect(u)
}

func withSaid(path, code string) string { return path + "?" + saidKey + "=" + url.QueryEscape(code) }

func orgURL(id string) string { return "/integrations/intercom/" + url.PathEscape(id) }

// orgOf is the organisation that the path names.
func orgOf(r *http.Request) (record.UUID, error) {
	org, err := record.ParseUUID(r.PathValue("orgId"))
	if err != nil || org.IsZero() {
		return org, errNothing
	}
	return org, nil
}

// may is what who looks may do in the organisation; the pages offer nothing else.
type may struct{ Operate, Administer bool }

func mayOf(r *http.Request, org record.UUID) may {
	role := access.Of(r.Context()).Role(org)
	return may{role >= access.Operator, role >= access.Admin}
}

// head is what all pages of an organisation have.
type head struct {
	Org   record.UUID
	URL   string
	Name  string // of the workspace
	Conn  connection.Connection
	Known bool
	May   may
	Tabs  []tab
}

type tab struct {
	Name, URL string
	Here      bool
	Badge     string
	Bad       bool
}

// headOf makes the head of a page; here is the path of the tab, below the organisation's.
func headOf(r *http.Request, org record.UUID, conn connection.Connection, known bool, rejects int64, here string) head {
	h := head{Org: org, URL: orgURL(org.String()), Conn: conn, Known: known, May: mayOf(r, org), Name: "Intercom"}
	if known {
		h.Name = workspaceName(conn.Workspace)
	}
	for _, t := range []struct{ name, path string }{{"Overview", ""}, {"Runs", "/runs"}, {"Rejects", "/rejects"}, {"Checklist", "/checklist"}, {"Settings", "/settings"}} {
		x := tab{Name: t.name, URL: h.URL + t.path, Here: t.path == here}
		if t.path == "/rejects" && rejects > 0 {
			x.Badge, x.Bad = fmt.Sprint(rejects), true
			if rejects > 999 {
				x.Badge = "999+"
			}
		}
		h.Tabs = append(h.Tabs, x)
	}
	return h
}

// readHead reads what headOf needs.
func (s *Site) readHead(r *http.Request, here string) (head, error) {
	org, err := orgOf(r)
	if err != nil {
		return head{}, err
	}
	conn, err := s.o.Connections.Get(r.Context(), org)
	if err != nil && !errors.Is(err, connection.ErrNotConnected) {
		return head{}, err
	}
	known := err == nil
	var rejects int64
	if err := s.o.DB.Pool().QueryRow(r.Context(), `SELECT count(*) FROM ingest.rejects WHERE org_id = $1 AND resolved_at IS NULL`, org).Scan(&rejects); err != nil {
		return head{}, fmt.Errorf("count the rejects of %s: %w", org, err)
	}
	return headOf(r, org, conn, known, rejects, here), nil
}

// show renders a page.
func (s *Site) show(w http.ResponseWriter, r *http.Request, name string, status int, v frame.View) error {
	who := access.Of(r.Context())
	v.User, v.Admin = who.Name, who.Overseer
	if v.Notice == nil {
		v.Notice = notice(r.URL.Query())
	}
	return s.pages[name].Render(w, status, v)
}

func (h head) view(title string, body any) frame.View {
	return frame.View{Title: strings.TrimSpace(title + " · " + h.Name), Org: h.Name, OrgURL: h.URL, Body: body}
}

// audited does something after it has been recorded: what cannot be recorded is not done.
func (s *Site) audited(r *http.Request, org record.UUID, action string, detail map[string]string) error {
	if err := s.o.Audit(r.Context(), org, action, detail); err != nil {
		return err
	}
	return nil
}

// askWithin bounds what is asked of Intercom while somebody waits.
const askWithin = 45 * time.Second
