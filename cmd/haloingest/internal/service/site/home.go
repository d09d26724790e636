package site

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/service/access"
	"haloingest/cmd/haloingest/internal/service/frame"
	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
)

// homeView is the list of organisations.
type homeView struct {
	Orgs []orgLine
	Add  bool   // who looks may add one
	Bad  bool   // what was given is no id
	Was  string // what was given, if it is like an id
}

// orgLine is one organisation in the list.
type orgLine struct {
	ID, URL, Name, Region string
	Tone, State           string
	Totals                []total
	Held                  int64
	Synced                when
}

// homeAtOnce is how many organisations are looked at together.
const homeAtOnce = 4

func (s *Site) home(w http.ResponseWriter, r *http.Request) error {
	who := access.Of(r.Context())
	orgs, err := s.visible(r, who)
	if err != nil {
		return err
	}
	if len(orgs) == 1 && !who.Overseer && r.URL.RawQuery == "" {
		return redirect(orgURL(orgs[0].String()))
	}
	return s.list(w, r, http.StatusOK, orgs, homeView{}, nil)
}

// list shows organisations, and what home and notice say beside.
func (s *Site) list(w http.ResponseWriter, r *http.Request, status int, orgs []record.UUID, home homeView, notice *frame.Notice) error {
	lines := make([]orgLine, len(orgs))
	err := pipeline.ForEach(r.Context(), len(orgs), homeAtOnce, func(_ context.Context, i int) error {
		f, err := s.read(postgres.WithOrg(r.Context(), orgs[i]), orgs[i])
		if err != nil {
			return err
		}
		st := judge(f)
		lines[i] = orgLine{ID: orgs[i].String(), URL: orgURL(orgs[i].String()), Name: "Not connected", Tone: st.Tone, State: st.Head,
			Totals: totals(f.Status), Held: rowsHeld(f.Status), Synced: since(f.Status.LastSyncedAt, f.At)}
		if f.Known {
			lines[i].Name, lines[i].Region = workspaceName(f.Conn.Workspace), regionNames[f.Conn.Region]
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(lines, func(a, b orgLine) int {
		return cmp.Or(cmp.Compare(urgency(a.Tone), urgency(b.Tone)), strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)), strings.Compare(a.ID, b.ID))
	})
	home.Orgs, home.Add = lines, access.Of(r.Context()).Overseer
	return s.show(w, r, "home", status, frame.View{Title: "Organisations", Notice: notice, Body: home})
}

// urgency puts first what needs somebody.
func urgency(tone string) int {
	i := slices.Index([]string{"bad", "open", "busy", "good", "off"}, tone)
	if i < 0 {
		return 9
	}
	return i
}

// visible are the organisations that who asks may see, in the order of their ids.
func (s *Site) visible(r *http.Request, who access.Identity) ([]record.UUID, error) {
	known := map[record.UUID]bool{}
	for org, role := range who.Roles {
		if role > access.NoRole {
			known[org] = true
		}
	}
	if who.Overseer {
		list, err := s.o.Every.List(r.Context())
		if err != nil && !errors.Is(err, connection.ErrNotConnected) {
			return nil, err
		}
		for _, c := range list {
			known[c.Org] = true
		}
	}
	orgs := make([]record.UUID, 0, len(known))
	for org := range known {
		orgs = append(orgs, org)
	}
	slices.SortFunc(orgs, func(a, b record.UUID) int { return bytes.Compare(a[:], b[:]) })
	return orgs, nil
}

// addOrg leads to the page of an organisation that is not connected yet: there is nothing to store before it is. What is no id is answered
// at once: it may be a token that was pasted into the wrong field, and an address is kept in logs and histories.
func (s *Site) addOrg(w http.ResponseWriter, r *http.Request) error {
	id := strings.ToLower(strings.TrimSpace(r.PostForm.Get("org")))
	org, err := record.ParseUUID(id)
	if err != nil || org.IsZero() {
		orgs, err := s.visible(r, access.Of(r.Context()))
		if err != nil {
			return err
		}
		home := homeView{Bad: true}
		if len(id) <= 64 && strings.Trim(id, "0123456789abcdef-") == "" {
			home.Was = id
		}
		notice := orgBad
		return s.list(w, r, http.StatusUnprocessableEntity, orgs, home, &notice)
	}
	if err := s.audited(r, org, "add organisation", nil); err != nil {
		return err
	}
	return redirect(orgURL(org.String()))
}

var orgBad = frame.Notice{Tone: "bad", Text: "That is no organisation's id. Halo shows it under Setup > Deploy; it looks like 6f1b2a34-5c6d-4e7f-8a9b-0c1d2e3f4a5b."}
