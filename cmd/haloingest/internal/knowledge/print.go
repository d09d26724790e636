// Package knowledge prints what was learned of conversations, for people to read.
package knowledge

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
)

// PrintHits prints what a search found.
func PrintHits(w io.Writer, hits []postgres.Hit) {
	if len(hits) == 0 {
		fmt.Fprintln(w, "Nothing found.")
		return
	}
	for i := range hits {
		h := &hits[i]
		fmt.Fprintf(w, "%d. %s\n   conversation %s%s, score %.2f\n", i+1, h.Title, h.SourceID, whose(h), h.Score)
		for _, r := range h.Records {
			fmt.Fprintf(w, "   - %s %s\n     %s\n", r.Kind, r.ID, strings.ReplaceAll(r.Snippet, "\n", "\n     "))
			if len(r.Messages) > 0 {
				fmt.Fprintf(w, "     messages %s\n", strings.Join(r.Messages, ", "))
			}
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w, "A record in its conversation: haloingest knowledge show RECORD|CONVERSATION")
}

// whose says when a conversation began and whose it is.
func whose(h *postgres.Hit) string {
	var b strings.Builder
	if !h.At.IsZero() {
		b.WriteString(" of " + h.At.UTC().Format("2006-01-02"))
	}
	if h.EndUserName != "" {
		b.WriteString(", " + h.EndUserName)
	}
	if h.CompanyName != "" {
		b.WriteString(", " + h.CompanyName)
	}
	return b.String()
}

// Print prints records and below them their conversation, with what they quote marked «so». Chunks quote nothing; the messages they hold are
// marked whole.
func Print(w io.Writer, l postgres.Learned) {
	fmt.Fprintf(w, "%s\nconversation %s%s\n", l.Conversation.Title, l.Conversation.SourceID, whose(&l.Conversation))
	cited := make(map[string]bool)
	var quotes []postgres.Citation
	for _, r := range l.Records {
		fmt.Fprintf(w, "\n%s %s\n", r.Kind, r.ID)
		fmt.Fprintf(w, "    %s\n", strings.ReplaceAll(r.Content, "\n", "\n    "))
		if len(r.Evidence) > 0 {
			fmt.Fprintf(w, "  because: %s\n", strings.Join(r.Evidence, ", "))
		}
		if r.Distiller != "" {
			fmt.Fprintf(w, "  by: %s", r.Distiller)
			if r.Fallback != "" {
				fmt.Fprintf(w, ", as the model's answer could not be used: %s", r.Fallback)
			}
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "  key: %s\n", r.Key)
		quotes = append(quotes, r.Quotes...)
		for _, id := range r.Messages {
			cited[id] = true
		}
	}
	fmt.Fprintln(w, "\nThe conversation, with what is quoted in «»:")
	found := make(map[string]bool)
	for _, m := range l.Messages {
		who := m.Speaker
		if m.Name != "" {
			who += " " + m.Name
		}
		mark := "  "
		if cited[m.ID] {
			mark = "> "
			found[m.ID] = true
		}
		fmt.Fprintf(w, "\n%s%s, %s, message %s\n", mark, who, m.At.UTC().Format("2006-01-02 15:04"), m.ID)
		fmt.Fprintf(w, "    %s\n", strings.ReplaceAll(marked(m, quotes), "\n", "\n    "))
	}
	for _, r := range l.Records {
		for _, id := range r.Messages {
			if !found[id] {
				found[id] = true
				fmt.Fprintf(w, "\nMessage %s, which is cited, is not among them.\n", id)
			}
		}
	}
}

// marked is a message's text with its quotes in «». Quotes that overlap are marked as one.
func marked(m postgres.SaidMessage, quotes []postgres.Citation) string {
	// Offsets are those of the cleaned text; a message that is as it was said has the same.
	text := record.CleanText(m.Text)
	var spans [][2]int
	for _, q := range quotes {
		if q.MessageID != m.ID {
			continue
		}
		start, end := byteOffset(text, q.Start), byteOffset(text, q.End)
		if start < 0 || end < start || text[start:end] != q.Text {
			if start = strings.Index(text, q.Text); start < 0 {
				continue
			}
			end = start + len(q.Text)
		}
		spans = append(spans, [2]int{start, end})
	}
	slices.SortFunc(spans, func(a, b [2]int) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(b[1], a[1])) })
	var b strings.Builder
	at := 0
	for i := 0; i < len(spans); {
		start, end := spans[i][0], spans[i][1]
		for i++; i < len(spans) && spans[i][0] < end; i++ {
			end = max(end, spans[i][1])
		}
		b.WriteString(text[at:start] + "«" + text[start:end] + "»")
		at = end
	}
	return b.String() + text[at:]
}

// byteOffset is where the nth character of a text begins, -1 if it has fewer.
func byteOffset(text string, n int) int {
	at := 0
	for ; n > 0 && at < len(text); n-- {
		_, size := utf8.DecodeRuneInString(text[at:])
		at += size
	}
	if n != 0 {
		return -1
	}
	return at
}
