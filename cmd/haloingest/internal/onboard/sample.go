package onboard

import (
	"context"
)

func (d *Desk) preview(ctx context.Context, r PreviewRequest) (Preview, error) {
	return Preview{}, nil
}
