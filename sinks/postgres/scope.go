package postgres

import (
	"context"

	"haloingest/pipeline/record"
)

type orgKey struct{}

// WithOrg returns a context under which connections of a scoped DB see the rows of one organisation; see OpenScoped.
func WithOrg(ctx context.Context, org record.UUID) context.Context {
	return context.WithValue(ctx, orgKey{}, org)
}
