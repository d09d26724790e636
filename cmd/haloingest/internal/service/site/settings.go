package site

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/cmd/haloingest/internal/service/work"
)

// settingsView is what can be set.
type settingsView struct {
	head
	Refresh    string
	Recent     string // how long ago what is read again was active
	Webhook    string // the address for Intercom
	Secret     string // configured, not configured
	Region     string
	Topics     []topicGroup
	TopicCount int
	Graces     []grace
	Since      when
}

// topicGroup are the topics of one kind to subscribe to.
type topicGroup struct {
	Name   string
	Topics []string
}

// topicGroups are the present names of the documented topics, and of those that tell what no list of Intercom's tells (fact sheet, section 5).
var topicGroups = []topicGroup{
	{"Conversations", []string{"conversation.user.created", "conversation.user.replied", "conversation.admin.replied", "conversation.admin.single.created",
		"conversation.admin.closed", "conversation.admin.opened", "conversation.admin.snoozed", "conversation.admin.noted", "conversation.deleted", "conversation_part.redacted"}},
	{"Contacts", []string{"contact.user.created", "contact.user.updated", "contact.lead.created", "contact.lead.updated", "contact.merged", "contact.deleted"}},
	{"Companies", []string{"company.created", "company.updated", "company.deleted", "company.contact.attached", "company.contact.detached"}},
	{"Tickets", []string{"ticket.created", "ticket.state.updated", "ticket.admin.replied", "ticket.contact.replied", "ticket.deleted"}},
}

// grace is for how long a webhook secret that is replaced is still accepted.
type grace struct {
	Value, Name string
	span        time.Duration
}

var graces = []grace{{"0", "not at all", 0}, {"1h", "for an hour", time.Hour}, {"24h", "for a day", 24 * time.Hour}, {"168h", "for a week", 7 * 24 * time.Hour}}

func (s *Site) settings(w http.ResponseWriter, r *http.Request) error {
	h, err := s.readHead(r, "/settings")
	if err != nil {
		return err
	}
	v := settingsView{head: h, Refresh: span(h.Conn.ActivityRefresh), Recent: span(max(2*h.Conn.ActivityRefresh, 24*time.Hour)), Secret: "not configured", Region: regionNames[h.Conn.Region], Topics: topicGroups, Graces: graces,
		Webhook: s.publicURL(r) + WebhookPath + h.Org.String()}
	if h.Conn.HasWebhookSecret {
		v.Secret = "configured"
	}
	for _, g := range v.Topics {
		v.TopicCount += len(g.Topics)
	}
	now, err := s.now(r.Context())
	if err != nil {
		return err
	}
	v.Since = since(h.Conn.ConnectedAt, now)
	return s.show(w, r, "settings", http.StatusOK, h.view("Settings", v))
}

// publicURL is scheme and host for addresses that leave the page.
func (s *Site) publicURL(r *http.Request) string {
	if s.o.PublicURL != "" {
		return strings.TrimSuffix(s.o.PublicURL, "/")
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

// connected is the connection of the organisation that the path names; connection.ErrNotConnected unless there is one that works.
func (s *Site) connected(r *http.Request) (connection.Connection, error) {
	org, err := orgOf(r)
	if err != nil {
		return connection.Connection{}, err
	}
	c, err := s.o.Connections.Get(r.Context(), org)
	if err == nil && !c.Connected {
		err = connection.ErrNotConnected
	}
	return c, err
}

// act does something that needs a connected workspace, once it has been recorded, and leads back.
func (s *Site) act(r *http.Request, action string, detail map[string]string, do func(connection.Connection) error, back, code string) error {
	c, err := s.connected(r)
	if err != nil {
		return err
	}
	if err := s.audited(r, c.Org, action, detail); err != nil {
		return err
	}
	if err := do(c); err != nil {
		return err
	}
	return to(orgURL(c.Org.String())+back, code)
}

func (s *Site) sync(_ http.ResponseWriter, r *http.Request) error {
	return s.act(r, "sync now", nil, func(c connection.Connection) error { return s.o.Queue.Sync(r.Context(), c.Org) }, "", "sync")
}

func (s *Site) backfill(_ http.ResponseWriter, r *http.Request) error {
	return s.act(r, "go on with backfill", nil, func(c connection.Connection) error {
		return s.o.Queue.Backfill(r.Context(), nil, c.Org, work.BackfillOptions{})
	}, "", "backfill")
}

// tryNow ends the wait for the next try of what has failed.
func (s *Site) tryNow(_ http.ResponseWriter, r *http.Request) error {
	return s.act(r, "try now", nil, func(c connection.Connection) error { return s.o.Queue.TryNow(r.Context(), c.Org) }, "", "try-now")
}

func (s *Site) readAgain(_ http.ResponseWriter, r *http.Request) error {
	return s.act(r, "read everything again", nil, func(c connection.Connection) error {
		return s.o.Queue.Backfill(r.Context(), nil, c.Org, work.BackfillOptions{Restart: true})
	}, "", "again")
}

// ingest turns ingest on or off.
func (s *Site) ingest(_ http.ResponseWriter, r *http.Request) error {
	value := r.PostForm.Get("ingest")
	if value != "on" && value != "off" {
		return errNothing
	}
	back := ""
	if r.PostForm.Get("from") == "settings" {
		back = "/settings"
	}
	return s.act(r, "turn ingest "+value, nil, func(c connection.Connection) error {
		changed, err := s.o.Connections.SetIngest(r.Context(), c.Org, value == "on")
		switch {
		case err != nil || !changed:
			return err
		case value == "off":
			return s.o.Queue.Stop(r.Context(), c.Org)
		case c.SyncedTo.IsZero():
			return s.o.Queue.Backfill(r.Context(), nil, c.Org, work.BackfillOptions{})
		}
		return s.o.Queue.Sync(r.Context(), c.Org)
	}, back, "ingest-"+value)
}

// refresh sets activity_refresh.
func (s *Site) refresh(_ http.ResponseWriter, r *http.Request) error {
	c, err := s.connected(r)
	if err != nil {
		return err
	}
	back := orgURL(c.Org.String()) + "/settings"
	d, err := time.ParseDuration(strings.ReplaceAll(strings.TrimSpace(r.PostForm.Get("activity_refresh")), " ", ""))
	if err != nil || d <= 0 {
		return to(back, "refresh-bad")
	}
	set := c.Settings()
	set.ActivityRefresh = d
	if set.Validate() != nil {
		return to(back, "refresh-bad")
	}
	if err := s.audited(r, c.Org, "set activity_refresh", map[string]string{"from": span(c.ActivityRefresh), "to": span(d)}); err != nil {
		return err
	}
	if _, err := s.o.Connections.Configure(r.Context(), c.Org, connection.Settings{ActivityRefresh: d}); err != nil {
		return err
	}
	return to(back, "refresh")
}

// webhookSecret sets or replaces the webhook secret.
func (s *Site) webhookSecret(_ http.ResponseWriter, r *http.Request) error {
	c, err := s.connected(r)
	if err != nil {
		return err
	}
	back := orgURL(c.Org.String()) + "/settings"
	text := secret.NewText(strings.TrimSpace(r.PostForm.Get("webhook_secret")))
	if text.IsEmpty() {
		return to(back, "secret-empty")
	}
	keep := graces[0]
	if value := r.PostForm.Get("grace"); value != "" {
		found := false
		for _, g := range graces {
			if g.Value == value {
				keep, found = g, true
			}
		}
		if !found {
			return to(back, "secret-grace-no")
		}
	}
	action := "set webhook secret"
	if c.HasWebhookSecret {
		action = "replace webhook secret"
	}
	if err := s.audited(r, c.Org, action, map[string]string{"old one accepted": keep.Name}); err != nil {
		return err
	}
	var bad *connection.SettingError
	err = s.o.Connections.SetWebhookSecret(r.Context(), c.Org, text, keep.span)
	switch {
	case errors.As(err, &bad):
		return to(back, "secret-empty")
	case err != nil:
		return err
	case c.HasWebhookSecret && keep.span > 0:
		return to(back, "secret-grace")
	}
	return to(back, "secret")
}

// disconnectView asks whether it is meant.
type disconnectView struct {
	head
	Totals []total
}

func (s *Site) disconnectForm(w http.ResponseWriter, r *http.Request) error {
	h, err := s.readHead(r, "/settings")
	if err != nil {
		return err
	}
	if !h.Known || !h.Conn.Connected {
		return connection.ErrNotConnected
	}
	status, err := s.o.DB.Status(r.Context(), h.Org)
	if err != nil {
		return err
	}
	return s.show(w, r, "disconnect", http.StatusOK, h.view("Disconnect", disconnectView{h, totals(status)}))
}

// disconnect deletes the credentials, after it was confirmed.
func (s *Site) disconnect(_ http.ResponseWriter, r *http.Request) error {
	if r.PostForm.Get("confirm") != "yes" {
		org, err := orgOf(r)
		if err != nil {
			return err
		}
		return to(orgURL(org.String())+"/disconnect", "not-confirmed")
	}
	return s.act(r, "disconnect", nil, func(c connection.Connection) error {
		if _, err := s.o.Connections.Disconnect(r.Context(), c.Org); err != nil {
			return err
		}
		return s.o.Queue.Stop(r.Context(), c.Org)
	}, "", "disconnected")
}
