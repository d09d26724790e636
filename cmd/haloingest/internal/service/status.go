package service

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/service/work"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
)

// StatusPath is where the status of an organisation is read, as a pattern of http.ServeMux.
const StatusPath = "/api/integrations/intercom/{orgId}/status"

// Status is the JSON of an organisation's status (contract, "HTTP"). It holds no secret and nothing of anybody's data.
type Status struct {
	Org       record.UUID `json:"org"`
	Connected bool        `json:"connected"`
	Workspace *Workspace  `json:"workspace"` // null if none was ever connected
	Totals    Totals      `json:"totals"`    // live rows that come from Intercom
	Deleted   Totals      `json:"deleted"`   // rows that are marked as deleted there

	LastSyncedAt *time.Time `json:"last_synced_at"` // end of the last complete backfill or sync; null before any
	SyncedTo     *time.Time `json:"synced_to"`      // all changes before it have been read

	WebhookSecret           string `json:"webhook_secret"` // configured, not configured
	WebhookSecretConfigured bool   `json:"webhook_secret_configured"`
	IngestEnabled           bool   `json:"ingest_enabled"`
	OpenRejects             int64  `json:"open_rejects"`

	Jobs []work.Job `json:"jobs"` // what waits or runs, oldest first, and what has failed for good
	Run  *LastRun   `json:"run"`  // the newest run; null before any
}

// Workspace is whose data it is.
type Workspace struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Region string `json:"region"`
}

// Totals counts objects of each kind.
type Totals struct {
	Contacts      int64 `json:"contacts"`
	Companies     int64 `json:"companies"`
	Conversations int64 `json:"conversations"`
	Tickets       int64 `json:"tickets"`
}

// LastRun is a run as it stands in the database.
type LastRun struct {
	ID         record.UUID `json:"id"`
	Kind       string      `json:"kind"`
	State      string      `json:"state"`
	StartedAt  time.Time   `json:"started_at"`
	FinishedAt *time.Time  `json:"finished_at"` // null while it runs
	Error      string      `json:"error,omitempty"`
}

// statusHandler answers with a Status.
type statusHandler struct {
	db          *postgres.DB
	connections *connection.Store
	jobs        func(ctx context.Context, org record.UUID) ([]work.Job, error)
	log         *slog.Logger
}

func (h *statusHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	org, err := record.ParseUUID(r.PathValue("orgId"))
	if err != nil {
		sayJSON(w, http.StatusNotFound, errNoOrganisation)
		return
	}
	s, err := h.read(r.Context(), org)
	switch {
	case err == nil && s == nil:
		sayJSON(w, http.StatusNotFound, errNoOrganisation)
	case err == nil:
		sayJSON(w, http.StatusOK, s)
	case r.Context().Err() != nil: // who asked has gone
	case errors.Is(err, postgres.ErrDatabase):
		h.log.Warn("the status cannot be read", "org", org.String(), "error", err)
		w.Header().Set("Retry-After", "5")
		sayJSON(w, http.StatusServiceUnavailable, failure{"the database cannot be reached"})
	default:
		h.log.Error("the status cannot be read", "org", org.String(), "error", err)
		sayJSON(w, http.StatusInternalServerError, failure{"the status cannot be read; the log says why"})
	}
}

// failure is the JSON of an answer that is none.
type failure struct {
	Error string `json:"error"`
}

var errNoOrganisation = failure{"there is no such organisation"}

func sayJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"error": "the answer cannot be written"}`)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // who has gone away need not be told
}

// read gives the status of an organisation, or nil if nothing is known of it.
func (h *statusHandler) read(ctx context.Context, org record.UUID) (*Status, error) {
	conn, err := h.connections.Get(ctx, org)
	known := err == nil
	if err != nil && !errors.Is(err, connection.ErrNotConnected) {
		return nil, err
	}
	st, err := h.db.Status(ctx, org)
	if err != nil {
		return nil, err
	}
	s := &Status{
		Org:          org,
		Totals:       Totals{st.Contacts.Live, st.Companies.Live, st.Conversations.Live, st.Tickets.Live},
		Deleted:      Totals{st.Contacts.Deleted, st.Companies.Deleted, st.Conversations.Deleted, st.Tickets.Deleted},
		LastSyncedAt: when(st.LastSyncedAt), SyncedTo: when(st.SyncedTo), OpenRejects: st.OpenRejects,
		WebhookSecret: "not configured", Jobs: []work.Job{},
	}
	if !known && st.Run == nil && s.Totals == (Totals{}) && s.Deleted == (Totals{}) {
		return nil, nil
	}
	if known {
		s.Connected, s.IngestEnabled, s.WebhookSecretConfigured = conn.Connected, conn.IngestEnabled, conn.HasWebhookSecret
		s.Workspace = &Workspace{conn.Workspace.ID, conn.Workspace.Name, conn.Region}
	}
	if s.WebhookSecretConfigured {
		s.WebhookSecret = "configured"
	}
	if r := st.Run; r != nil {
		s.Run = &LastRun{ID: r.ID, Kind: r.Kind, State: string(r.State), StartedAt: r.StartedAt, FinishedAt: when(r.FinishedAt), Error: r.Error}
	}
	jobs, err := h.jobs(ctx, org)
	if err != nil {
		return nil, err
	}
	s.Jobs = append(s.Jobs, jobs...)
	return s, nil
}

func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
