package extract

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestHTMLBecomesPlainText(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"a paragraph", "<p>Hello there.</p>", "Hello there."},
		{"two paragraphs are divided by an empty line", "<p>One.</p><p>Two.</p>", "One.\n\nTwo."},
		{"lines of Intercom's composer are lines", `<p class="no-margin">One.</p>` + "\n" + `<p class="no-margin">Two.</p>`, "One.\nTwo."},
		{"an empty line of the composer is an empty line", `<p class="no-margin">One.</p><p class="no-margin"><br></p><p class="no-margin">Two.</p>`, "One.\n\nTwo."},
		{"line breaks are kept", "<p>One.<br>Two.<br/>Three.</p>", "One.\nTwo.\nThree."},
		{"runs of empty lines are one", "<p>One.</p><p></p><p> </p><br><br><br><p>Two.</p>", "One.\n\nTwo."},
		{"white space of the source is one blank", "<p>  a \n\t b&nbsp;&nbsp;c </p>", "a b c"},
		{"no blank is lost or made between elements", "<p>a <b>b</b> c<i>d</i>e</p>", "a b cde"},
		{"entities are decoded, once", "<p>AT&amp;T &lt;b&gt; &amp;lt; &eacute; &#8364; &#x1F600; &nosuch;</p>", "AT&T <b> &lt; é € 😀 &nosuch;"},
		{"a link keeps its address", `<p>See <a href="https://help.example/a?b=1&amp;c=2">this article</a>, please.</p>`, "See this article (https://help.example/a?b=1&c=2), please."},
		{"a link that shows its address says it once", `<a href="https://help.example/a">https://help.example/a</a> <a href="http://www.acme.example/">acme.example</a>`, "https://help.example/a acme.example"},
		{"addresses of mail and telephone are bare", `<a href="mailto:a@b.example">write</a> <a href="MAILTO:a@b.example">a@b.example</a> <a href="tel:+49">call</a>`, "write (a@b.example) a@b.example call (+49)"},
		{"a link around a picture is its address", `<a href="https://files.example/1"><img src="x.png"></a>`, "https://files.example/1"},
		{"links to nowhere are text", `<a href="#top">up</a> <a>none</a> <a href="javascript:alert(1)">click</a> <a href="">e</a>`, "up none click e"},
		{"a link that is not closed ends with the text", `<p><a href="https://x.example">there`, "there (https://x.example)"},
		{"a link in a list", `<ul><li><a href="https://x.example">https://x.example</a></li><li><a href="https://y.example">Y</a></li></ul>`, "- https://x.example\n- Y (https://y.example)"},
		{"the alternative text of a picture is kept", `<p>Look: <img src="a.png" alt="a red  button"> there</p>`, "Look: a red button there"},
		{"a list has dashes", "<p>Try:</p><ul><li>one</li><li><p>two</p></li></ul><p>Done.</p>", "Try:\n- one\n- two\n\nDone."},
		{"an ordered list has numbers", `<ol><li>one</li><li>two</li></ol><ol start="7"><li>seven</li></ol>`, "1. one\n2. two\n7. seven"},
		{"lists in lists are indented", "<ul><li>a<ol><li>x</li><li>y</li></ol></li><li>b</li></ul>", "- a\n  1. x\n  2. y\n- b"},
		{"rows and cells of a table", "<table><tr><th>Plan</th><th>Seats</th></tr><tr><td>Pro</td><td>12</td></tr></table>", "Plan | Seats\nPro | 12"},
		{"tables that only lay out leave lines", "<table><tr><td><table><tr><td>Hello</td></tr></table></td></tr><tr><td><p>World</p></td></tr></table>", "Hello\n\nWorld"},
		{"preformatted text stands as it is", "<p>Run:</p><pre><code>\nfor i := range n {\n\tgo()\n}\n\n\ndone</code></pre><p>ok</p>", "Run:\n\nfor i := range n {\n\tgo()\n}\n\n\ndone\n\nok"},
		{"breaks in preformatted text are lines", "<pre>a<br>b<br><br>c</pre>", "a\nb\n\nc"},
		{"quotes are marked", `<p>Yes.</p><blockquote><p>Did it work?</p><blockquote>It broke.</blockquote></blockquote><p>Bye</p>`, "Yes.\n\n> Did it work?\n> > It broke.\n\nBye"},
		{"headings stand apart", "<h1>Title</h1>text<h2>Next</h2>more", "Title\n\ntext\n\nNext\n\nmore"},
		{"scripts, styles and comments go", "<style>p{color:red}</style><p>a<!-- b --><script>if (a<b) {}</script>c</p><title>t</title>", "ac"},
		{"a script that is not closed takes the rest", "<p>a</p><script>b", "a"},
		{"a body without markup keeps its lines", "  One.\r\nTwo &amp; three.\n\n\n\nFour.\n", "One.\nTwo & three.\n\nFour."},
		{"a less-than is no markup", "2 < 3 && 5 > 4, no markup at all <3", "2 < 3 && 5 > 4, no markup at all <3"},
		{"a less-than within markup is text", "<p>2 < 3</p>", "2 < 3"},
		{"a tag that is cut off goes", "<p>a</p><a hre", "a"},
		{"nothing is nothing", "", ""},
		{"a paragraph of nothing is nothing", "<p></p>", ""},
		{"blanks are nothing", "<p> &nbsp;<br></p>", ""},
		{"an empty link is nothing", `<p><a href="#"></a></p>`, ""},
		{"the signature of a file's address goes", `<p><a href="https://downloads.intercomcdn.com/i/o/1/a.png?expires=1700000000&amp;signature=abc&amp;req=x">a.png</a></p>`, "a.png (https://downloads.intercomcdn.com/i/o/1/a.png)"},
		{"capital tags are tags", "<P>a<BR>b</P>", "a\nb"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h htmlReader
			for range 2 { // a reader that was used must give the same
				if diff := cmp.Diff(c.want, h.text(c.in)); diff != "" {
					t.Errorf("%q:\n%s", c.in, diff)
				}
			}
		})
	}
}

func TestMarkupNestedWithoutEndGrowsLittle(t *testing.T) {
	var h htmlReader
	in := strings.Repeat("<blockquote><ul><li>x", 20_000)
	if got := h.text(in); len(got) > 3*len(in) {
		t.Errorf("%d bytes became %d", len(in), len(got))
	}
}

func TestTheShortcutForOneParagraphGivesWhatTheReaderGives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringOf(rapid.SampledFrom([]rune("ab \t\n\u00a0é&;<>/"))).Draw(t, "text")
		short, ok := soleParagraph("<p>" + s + "</p>")
		if !ok {
			return
		}
		var h htmlReader
		if long := h.text("<p>" + s + "</p><!-- -->"); short != long {
			t.Fatalf("%q: %q by the shortcut, else %q", s, short, long)
		}
	})
}

// FuzzText checks what every text must be, whatever the markup.
func FuzzText(f *testing.F) {
	for _, s := range []string{"<p>a</p>", "<ul><li><a href=x>b<pre>\n c", "&#0;&#xD800;&nbsp;", "<table><tr><td>a<td>b", "<textarea><b>&lt;</textarea>", "<plaintext>x", "a<br><br><br>b", "<!--",
		"https://a.b/?sig=1&amp;x=2&quot;", "a.b?x=(1&sig=2)&y", "a.?sig=1.&sig=2.#b?expires=123456789"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "")
		var h htmlReader
		got := h.text(s)
		if !utf8.ValidString(got) || strings.ContainsRune(got, 0) {
			t.Fatalf("%q became %q", s, got)
		}
		if strings.TrimRight(got, " \n\t") != got {
			t.Fatalf("%q became %q, which ends in white space", s, got)
		}
		if len(got) > 8*len(s)+64 {
			t.Fatalf("%d bytes became %d", len(s), len(got))
		}
		if again := h.text(s); again != got {
			t.Fatalf("%q became %q, then %q", s, got, again)
		}
		if stable := stableURLs(s); stableURLs(stable) != stable || len(stable) > len(s) {
			t.Fatalf("%q became %q", s, stable)
		}
	})
}
