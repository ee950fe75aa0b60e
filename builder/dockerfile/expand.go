package dockerfile

import (
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// Scope is where variables are looked up.
type Scope interface {
	Get(name string) (string, bool)
	Keys() []string // for suggestions
}

// Lexer expands the variables of words, by the recipe's escape character.
type Lexer struct{ lex *shell.Lex }

// Expanded is a word after expansion, with the variables that were found and those that were not.
type Expanded = shell.ProcessWordResult

// Lexer returns the expander of this recipe.
func (r *Recipe) Lexer() *Lexer { return &Lexer{lex: shell.NewLex(r.ast.EscapeToken)} }

// Word expands one word into one value; quotes are taken away.
func (l *Lexer) Word(word string, scope Scope) (Expanded, error) {
	return l.lex.ProcessWordWithMatches(word, scope)
}

// Words expands a word into as many as its value has, as EXPOSE does.
func (l *Lexer) Words(word string, scope Scope) ([]string, error) {
	return l.lex.ProcessWords(word, scope)
}

// Text expands a heredoc's body: quotes stay as they are, and the escape is the backslash whatever the recipe says.
func (l *Lexer) Text(text string, scope Scope) (Expanded, error) {
	lex := shell.NewLex('\\')
	lex.SkipProcessQuotes = true
	return lex.ProcessWordWithMatches(text, scope)
}

// Display expands a command for a progress line: unset variables and quotes stay; on an error the text as it is.
func (l *Lexer) Display(text string, scope Scope) string {
	lex := *l.lex
	lex.RawQuotes, lex.RawEscapes, lex.SkipUnsetEnv = true, true, true
	w, _, err := lex.ProcessWord(text, scope)
	if err != nil {
		return text
	}
	return w
}

// IsHeredoc says whether a shell line is nothing but the start of one heredoc.
func IsHeredoc(line string) bool {
	h, err := parser.ParseHeredoc(line)
	return err == nil && h != nil
}

// ChompHeredoc removes the leading tabs of each line, as <<- asks.
func ChompHeredoc(text string) string { return parser.ChompHeredocContent(text) }
