package onboard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/pipeline/record"
	"haloingest/sources/intercom"
)

// Reason is why a workspace cannot be connected.
type Reason int

const (
	BadToken       Reason = iota + 1 // Intercom does not take the token
	MissingScope                     // the token may not read all that is needed: Refusal.Missing
	WrongRegion                      // the workspace is in another region: Refusal.Region
	Unreachable                      // Intercom does not answer, or not sensibly; it may later
	OtherWorkspace                   // the organisation holds another workspace's data
	TokenForm                        // what was given can be no token: blanks, quotes or the like are in it
)

func (r Reason) String() string {
	switch r {
	case BadToken:
		return "bad token"
	case MissingScope:
		return "missing scope"
	case WrongRegion:
		return "wrong region"
	case OtherWorkspace:
		return "other workspace"
	case TokenForm:
		return "no token"
	}
	return "unreachable"
}

// Refusal says why a workspace was not connected. Nothing has been stored.
type Refusal struct {
	Why     Reason
	Missing []record.Kind // of MissingScope: what the token may not read, in the order of record.Kinds; empty: Intercom does not tell
	Region  string        // of WrongRegion: where the workspace is
	Err     error         // what it follows from; nil where Missing says it
}

// Error is a line for people, with what to do.
func (r *Refusal) Error() string {
	if r.Err != nil {
		return r.Err.Error()
	}
	var names []string
	for _, kind := range r.Missing {
		names = append(names, kind.Stream())
	}
	return fmt.Sprintf("nothing was stored: the token may not read %s; give the app of this token that permission in Intercom's Developer Hub and connect again", strings.Join(names, ", "))
}

func (r *Refusal) Unwrap() error { return r.Err }

// refuse makes a Refusal of what keeps a workspace from being connected; other errors stay as they are.
func refuse(ctx context.Context, err error) error {
	var region *intercom.RegionError
	var api *intercom.Error
	switch {
	case ctx.Err() != nil:
		return err
	case errors.As(err, &region):
		return &Refusal{Why: WrongRegion, Region: region.Actual, Err: err}
	case errors.Is(err, connection.ErrOtherWorkspace):
		return &Refusal{Why: OtherWorkspace, Err: err}
	case errors.As(err, &api) && api.Class == intercom.ClassScope && api.Status != http.StatusUnauthorized:
		return &Refusal{Why: MissingScope, Err: err}
	case errors.As(err, &api) && (api.Class == intercom.ClassStop || api.Class == intercom.ClassScope):
		return &Refusal{Why: BadToken, Err: err}
	case errors.As(err, &api):
		return &Refusal{Why: Unreachable, Err: err}
	}
	return err
}
