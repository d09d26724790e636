package onboard

import (
	"context"

	"haloingest/pipeline/record"
)

// PreviewRequest says whose objects a preview is of.
type PreviewRequest struct {
	Org  record.UUID
	User string // whose draft's token is used; "": the connection's
}

// Preview shows what each choice of user_id_field and company_id_field would give.
type Preview struct {
	Users     Choices // user_id_field, over contacts
	Companies Choices // company_id_field
}

// Choices are the values of one setting.
type Choices struct {
	Present string   // the value that the connection has; "" before it is connected
	Default string   // what is chosen where nobody chooses
	Sampled int      // objects that Empty and Shared of each Choice are counted over
	Names   []string // of the examples, as people know them: a contact's name or e-mail address, a company's name
	List    []Choice // in the order in which to offer them
	Missing string   // why there are no examples, as a sentence; "" where there are, or the workspace has none
}

// Choice is what one value of a setting would give.
type Choice struct {
	Field  string   // as the setting has it: external_id, custom_attributes.plan_id
	Values []string // the external_id of each example, in the order of Choices.Names; "" where it is empty
	Empty  int      // of the sample: no external_id
	Shared int      // of the sample: the same external_id as another one
}

// Preview reads a sample of the workspace's own contacts and companies, by a handful of requests, and stores nothing. Errors are *Refusal,
// connection.ErrNoDraft or connection.ErrNotConnected.
func (d *Desk) Preview(ctx context.Context, r PreviewRequest) (Preview, error) {
	return d.preview(ctx, r)
}
