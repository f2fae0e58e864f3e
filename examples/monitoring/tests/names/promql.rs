//! As much of PromQL as it takes to find metrics and labels.

/// A metric with the labels that it has to match.
#[derive(Debug)]
pub struct Selector {
    pub metric: String,
    pub matchers: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Sign(char),
}

/// The words after which labels stand in parentheses.
const CLAUSES: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

fn tokens(expression: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut chars = expression.chars().peekable();
    while let Some(first) = chars.next() {
        if first == '"' {
            let mut text = String::new();
            loop {
                match chars.next()? {
                    '"' => break,
                    '\\' => text.push(chars.next()?),
                    other => text.push(other),
                }
            }
            tokens.push(Token::Text(text));
        } else if is_of_word(first) {
            let mut word = String::from(first);
            while let Some(next) = chars.next_if(|next| is_of_word(*next)) {
                word.push(next);
            }
            tokens.push(Token::Word(word));
        } else if !first.is_whitespace() {
            tokens.push(Token::Sign(first));
        }
    }
    Some(tokens)
}

fn is_of_word(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '_' | ':' | '$' | '.')
}

/// Returns whether all brackets and quotes are closed.
pub fn is_balanced(expression: &str) -> bool {
    let Some(tokens) = tokens(expression) else { return false };
    let mut open = Vec::new();
    for token in tokens {
        match token {
            Token::Sign('(') => open.push(')'),
            Token::Sign('[') => open.push(']'),
            Token::Sign('{') => open.push('}'),
            Token::Sign(sign @ (')' | ']' | '}')) if open.pop() != Some(sign) => return false,
            _ => {}
        }
    }
    open.is_empty()
}

/// Returns the metrics of an expression, with what they have to match.
pub fn selectors(expression: &str) -> Vec<Selector> {
    let tokens = tokens(expression).unwrap();
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            Token::Word(word) if CLAUSES.contains(&word.as_str()) => at = end_of_clause(&tokens, at),
            Token::Word(word) if is_metric(word) => {
                let mut selector = Selector { metric: word.clone(), matchers: Vec::new() };
                if tokens.get(at + 1) == Some(&Token::Sign('{')) {
                    at += 2;
                    while tokens[at] != Token::Sign('}') {
                        if let (Token::Word(label), Some(value)) = (&tokens[at], value_after(&tokens[at + 1..])) {
                            selector.matchers.push((label.clone(), value));
                        }
                        at += 1;
                    }
                }
                found.push(selector);
                at += 1;
            }
            _ => at += 1,
        }
    }
    assert!(!found.is_empty(), "no metric in {expression}");
    found
}

/// Returns the labels of `by`, `on` and the like. `le` belongs to buckets.
pub fn labels_of_clauses(expression: &str) -> Vec<String> {
    let tokens = tokens(expression).unwrap();
    let clauses = tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| matches!(token, Token::Word(word) if CLAUSES.contains(&word.as_str())));
    let labels =
        clauses.flat_map(|(at, _)| &tokens[at + 1..end_of_clause(&tokens, at)]).filter_map(|token| match token {
            Token::Word(label) => Some(label.clone()),
            Token::Text(_) | Token::Sign(_) => None,
        });
    labels.collect()
}

fn is_metric(word: &str) -> bool {
    word.starts_with("redis_client_") || word.starts_with("db_client_")
}

fn end_of_clause(tokens: &[Token], at: usize) -> usize {
    assert_eq!(tokens.get(at + 1), Some(&Token::Sign('(')), "labels stand in parentheses");
    at + tokens[at..].iter().position(|token| *token == Token::Sign(')')).unwrap()
}

/// Returns the text after `=`, `!=`, `=~` or `!~`.
fn value_after(tokens: &[Token]) -> Option<String> {
    let signs = tokens.iter().take_while(|token| matches!(token, Token::Sign('=' | '!' | '~'))).count();
    match tokens.get(signs) {
        Some(Token::Text(text)) if signs > 0 => Some(text.clone()),
        _ => None,
    }
}
