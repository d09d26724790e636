package site

import (
	"net/url"
	"strings"

	"haloingest/cmd/haloingest/internal/service/frame"
	"haloingest/pipeline/record"
)

// saidKey is the parameter of an address that says what became of what was asked for: a code of this list. Nothing else of an address is ever
// shown, so that nobody can put words into the page's mouth by a link.
const saidKey = "said"

var said = map[string]frame.Notice{
	"connected":       {Tone: "good", Text: "Connected. Reading the history has been queued and begins by itself."},
	"reconnected":     {Tone: "good", Text: "Connected again. Everything is read once more; what is the same stays as it is."},
	"disconnected":    {Tone: "good", Text: "Disconnected. The token and the webhook secret are deleted; all rows stay."},
	"sync":            {Tone: "good", Text: "A sync has been queued."},
	"backfill":        {Tone: "good", Text: "Queued. It goes on from where it was stopped."},
	"try-now":         {Tone: "good", Text: "It is tried now."},
	"again":           {Tone: "good", Text: "Queued. Everything is read again from the beginning."},
	"ingest-on":       {Tone: "good", Text: "Ingest is on. A sync has been queued that reads what changed meanwhile."},
	"ingest-off":      {Tone: "good", Text: "Ingest is off. Neither sync nor webhooks change anything until it is on again."},
	"retry":           {Tone: "good", Text: "Queued. The rejected objects are read and loaded again."},
	"retry-waits":     {Tone: "open", Text: "A retry is queued or running already; nothing was added."},
	"secret":          {Tone: "good", Text: "The webhook secret is configured."},
	"secret-grace":    {Tone: "good", Text: "The webhook secret is replaced. The old one is accepted for the time you chose."},
	"secret-empty":    {Tone: "bad", Text: "The webhook secret is missing. Paste the client secret of the Intercom app."},
	"secret-grace-no": {Tone: "bad", Text: "For how long the old secret is accepted must be one of the choices."},
	"refresh":         {Tone: "good", Text: "The setting is stored."},
	"refresh-bad":     {Tone: "bad", Text: "Nothing was stored: activity_refresh is a span from 1m to 720h (30 days), such as 6h or 90m."},
	"fields":          {Tone: "good", Text: "The field choices are stored. Everything is read once more so that every row has them; that has been queued."},
	"fields-same":     {Tone: "good", Text: "Nothing changed: these are the fields that are in use."},
	"field-bad":       {Tone: "bad", Text: "Nothing was stored: choose a field, or give the name of a custom attribute."},
	"token-empty":     {Tone: "bad", Text: "The access token is missing."},
	"token-form":      {Tone: "bad", Text: "This cannot be an access token: it holds blanks, line breaks, quotes or other characters that no token has. Copy it once more, alone and in one line. Nothing was stored."},
	"token-bearer":    {Tone: "bad", Text: "Leave out the word “Bearer”, and paste the token alone. Nothing was stored."},
	"region-bad":      {Tone: "bad", Text: "Choose the region in which the workspace is kept."},
	"bad-token":       {Tone: "bad", Text: "Intercom does not take this token. It may be mistyped, revoked, or of another region. Nothing was stored."},
	"unreachable":     {Tone: "bad", Text: "Intercom does not answer at the moment. Nothing was stored; try again in a minute."},
	"other-workspace": {Tone: "bad", Text: "This token belongs to another workspace than the one whose data this organisation holds. Nothing was stored. Give that workspace an organisation of its own."},
	"no-draft":        {Tone: "open", Text: "The token that was checked is not kept any more: it is for half an hour only. Paste it again."},
	"not-connected":   {Tone: "open", Text: "That needs a connected workspace, and none is connected."},
	"not-confirmed":   {Tone: "open", Text: "Nothing was changed: tick the box to confirm."},
}

// regionNames are what people call the regions.
var regionNames = map[string]string{"us": "United States", "eu": "Europe", "au": "Australia"}

// notice is what the address of a page says of what was done, or nil.
func notice(q url.Values) *frame.Notice {
	code := q.Get(saidKey)
	switch code {
	case "":
		return nil
	case "wrong-region":
		name, ok := regionNames[q.Get("is")]
		if !ok {
			return nil
		}
		return &frame.Notice{Tone: "bad", Text: "This workspace is kept in " + name + ". That region is chosen below now; paste the token again. Nothing was stored."}
	case "missing-scope":
		var kinds []record.Kind
		for _, k := range record.Kinds {
			for name := range strings.SplitSeq(q.Get("of"), ",") {
				if name == string(k) {
					kinds = append(kinds, k)
				}
			}
		}
		what := "may not read " + list(kindNames(kinds))
		if len(kinds) == 0 {
			what = "has not every permission to read that is needed"
		}
		return &frame.Notice{Tone: "bad", Text: "The token " + what +
			". Give its app the missing permission to read contacts and companies, conversations or tickets in Intercom's Developer Hub, under Configure > Authentication, then paste the token again. Nothing was stored."}
	}
	if n, ok := said[code]; ok {
		return &n
	}
	return nil
}
