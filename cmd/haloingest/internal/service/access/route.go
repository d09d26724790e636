// Package access decides who may do what in the web service. A route says what it needs, and there is no way to serve one that does not say
// it: Gate.Mux refuses it, and takes routes from nowhere else. Who asks is an Identity, which handlers read from the request's context.
package access

import (
	"context"
	"fmt"
	"net/http"

	"haloingest/pipeline/record"
)

// Role is what a person may do in one organisation. Each role may do all that the ones before it may.
type Role int

const (
	NoRole   Role = iota
	Viewer        // sees everything but secrets, which nobody sees
	Operator      // starts and stops work: sync, retries, ingest on and off
	Admin         // connects, configures, disconnects, and says who may do what
)

var roleNames = [...]string{"none", "viewer", "operator", "admin"}

func (r Role) String() string {
	if r < 0 || int(r) >= len(roleNames) {
		return fmt.Sprintf("role %d", int(r))
	}
	return roleNames[r]
}

// ParseRole reads viewer, operator or admin.
func ParseRole(s string) (Role, error) {
	for r := Viewer; r <= Admin; r++ {
		if s == r.String() {
			return r, nil
		}
	}
	return NoRole, fmt.Errorf("role %q: want viewer, operator or admin", s)
}

// Need is what a route asks of who comes.
type Need int

const (
	Unsaid   Need = iota // no policy at all; such a route is not served
	Anyone               // nothing: health, signing in, what makes pages look good
	Signed               // a signature, which the handler checks itself: webhooks
	Scraper              // the metrics token, or the metrics listener
	Person               // signing in
	Member               // at least Policy.Role in the organisation that the path value "orgId" names
	Overseer             // to look after this installation: people, and organisations that are not there yet
)

// Policy says what a route needs.
type Policy struct {
	Need Need
	Role Role // of Member
}

// Route is one method on one path. Pattern is a path of http.ServeMux without the method, such as /integrations/intercom/{orgId}.
type Route struct {
	Method  string // GET (which takes HEAD as well), POST, ...; "" for every method, with Anyone and Signed only
	Pattern string
	Policy  Policy
	Handler http.Handler
}

// Identity is who asks. The zero value is nobody.
type Identity struct {
	User     record.UUID
	Name     string // the e-mail address or name under which the person signs in
	Overseer bool   // looks after this installation, and is admin in every organisation
	Roles    map[record.UUID]Role
}

// Role is the identity's role in an organisation.
func (i Identity) Role(org record.UUID) Role {
	if i.Overseer {
		return Admin
	}
	return i.Roles[org]
}

type identityKey struct{}

// With returns a context that carries an identity.
func With(ctx context.Context, i Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, i)
}

// Of returns who asks, or nobody.
func Of(ctx context.Context) Identity {
	i, _ := ctx.Value(identityKey{}).(Identity)
	return i
}
