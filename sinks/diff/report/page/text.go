package page

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Count writes an integer with its thousands separated.
func Count(n int64) string {
	s := strconv.FormatInt(n, 10)
	start := 0
	if s[0] == '-' {
		start = 1
	}
	for i := len(s) - 3; i > start; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Plural writes a count and its noun: "1 object", "2 objects"; a noun in y becomes ies.
func Plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if stem, ok := strings.CutSuffix(noun, "y"); ok && !strings.HasSuffix(stem, "a") && !strings.HasSuffix(stem, "e") {
		return Count(n) + " " + stem + "ies"
	}
	return Count(n) + " " + noun + "s"
}

// Capital begins a text with a capital letter.
func Capital(s string) string {
	first, n := utf8.DecodeRuneInString(s)
	if n == 0 || !unicode.IsLower(first) {
		return s
	}
	return string(unicode.ToUpper(first)) + s[n:]
}

// Share writes part of whole in percent. It never rounds to 0 % or 100 % what is neither.
func Share(part, whole int64) string {
	switch {
	case whole <= 0:
		return "–"
	case part >= whole:
		return "100 %"
	case part <= 0:
		return "0 %"
	}
	// Hundredths of a percent, down: 9,999 of 10,000 is 99.99 %, and 99,999 of 100,000 is so as well.
	hundredths := int64(float64(part) / float64(whole) * 10_000)
	switch {
	case hundredths == 0:
		return "< 0.01 %"
	case hundredths >= 10_000:
		hundredths = 9_999
	}
	if hundredths%100 == 0 {
		return fmt.Sprintf("%d %%", hundredths/100)
	}
	return fmt.Sprintf("%d.%02d %%", hundredths/100, hundredths%100)
}

// Size writes bytes in binary units.
func Size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, exp := float64(n)/unit, 0
	for value >= unit && exp < 4 {
		value, exp = value/unit, exp+1
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTP"[exp])
}

// Span writes a duration the way people say it.
func Span(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.1f h", d.Hours())
	}
	return fmt.Sprintf("%.1f days", d.Hours()/24)
}

// Moment writes an instant in UTC to the second, "–" where there is none.
func Moment(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// mostShown is how many characters of one value are shown on a page.
const mostShown = 300

// Visible makes a text from outside fit to be read, on a page as on a terminal: NULs are dropped; other control characters,
// characters that turn the direction of writing around and those that cannot be seen are written as ‹U+202E›; and of a text of
// more than 300 characters the first are shown, with how many there are. Line breaks and tabs become blanks.
func Visible(s string) string { return visible(s, mostShown) }

// Short is Visible for a name that stands in a narrow place: of more than most characters it shows the first.
func Short(s string, most int) string {
	if utf8.RuneCountInString(s) <= most {
		return Visible(s)
	}
	short, _, _ := strings.Cut(visible(s, most-1), "… (")
	return short + "…"
}

func visible(s string, most int) string {
	var b strings.Builder
	shown := 0
	for i, r := range s {
		if shown == most {
			fmt.Fprintf(&b, "… (%s)", Plural(int64(utf8.RuneCountInString(s)), "character"))
			break
		}
		shown++
		switch {
		case r == 0:
		case r == '\n' || r == '\t' || r == '\r':
			b.WriteByte(' ')
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\ufffd"):
			b.WriteString("‹not UTF-8›")
		case r == '\u200d' || r == '\u200c': // they join emoji, and are needed to write Persian
			b.WriteRune(r)
		case unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Co, r):
			fmt.Fprintf(&b, "‹U+%04X›", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// Cell makes a text harmless for a spreadsheet that opens it as a cell of a CSV file: what would begin a formula there (in the wide forms of East Asian writing, too,
// and behind blanks) gets an apostrophe in front; NULs, which end a text in some, are left out.
func Cell(s string) string {
	s = strings.ReplaceAll(s, "\x00", "")
	rest := strings.TrimLeft(s, " \u00a0\u3000\ufeff")
	if strings.HasPrefix(s, "\t") || strings.HasPrefix(s, "\r") || strings.HasPrefix(s, "\n") {
		return "'" + s
	}
	for _, begin := range []string{"=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r"} {
		if strings.HasPrefix(rest, begin) {
			return "'" + s
		}
	}
	return s
}
