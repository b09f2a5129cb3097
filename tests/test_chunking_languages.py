"""What is found in one small program of each language, with its lines."""

from __future__ import annotations

import pytest

from selfroute.memory.base import Document
from selfroute.memory.chunking import Policy, chunk_document
from selfroute.memory.chunking.grammars import ALIASES, GRAMMARS

FINE = Policy(limit=256, target=192, own=24, own_definition=24, own_constant=64, tiny=16, line_window=25)
PROGRAMS: dict[str, str] = {}
DEFINITIONS: dict[str, list[tuple[str, str, int, int]]] = {}
CHUNKS: dict[str, list[tuple[str, str, int, int]]] = {}

PROGRAMS["python"] = '''\
"""Doc."""
import os

LIMIT = 3


# Above.
@decorated
def top(x):
    """Doc."""

    def inner():
        return x

    return inner


class A(B):
    SIZE = 1

    # About m.
    @property
    def m(self):
        return 1

    async def n(self):
        pass


if os.name:
    def chosen():
        pass
'''
DEFINITIONS["python"] = [
    ("constant", "LIMIT", 4, 4),
    ("function", "top", 7, 15),
    ("function", "top.inner", 12, 13),
    ("class", "A", 18, 27),
    ("constant", "A.SIZE", 19, 19),
    ("method", "A.m", 21, 24),
    ("method", "A.n", 26, 27),
    ("function", "chosen", 31, 32),
]
CHUNKS["python"] = [
    ("module", "", 1, 4),
    ("function", "top", 7, 15),
    ("class", "A", 18, 27),
    ("function", "chosen", 30, 32),
]

PROGRAMS["javascript"] = """\
const fs = require('fs');
/** Doc. */
app.use = function use(fn) {
  return fn;
};
exports.helper = (x) => x;
Foo.prototype.bar = async function () {};
const arrow = () => 1;
const LIMIT = 3;
const routes = {
  index() { return 1; },
  show: function () { return 2; },
};
module.exports = {
  start() {},
};
class K extends L {
  static MAX = 1;
  handler = () => 2;
  get v() { return 1; }
}
export default function main() {
  function nested() {}
}
export const Button = memo(() => {
  return <div className="a">{x}</div>;
});
function* gen() {}
"""
DEFINITIONS["javascript"] = [
    ("method", "app.use", 2, 5),
    ("function", "helper", 6, 6),
    ("method", "Foo.bar", 7, 7),
    ("function", "arrow", 8, 8),
    ("constant", "LIMIT", 9, 9),
    ("class", "routes", 10, 13),
    ("method", "routes.index", 11, 11),
    ("method", "routes.show", 12, 12),
    ("function", "start", 15, 15),
    ("class", "K", 17, 21),
    ("constant", "K.MAX", 18, 18),
    ("method", "K.handler", 19, 19),
    ("method", "K.v", 20, 20),
    ("function", "main", 22, 24),
    ("function", "main.nested", 23, 23),
    ("function", "Button", 25, 27),
    ("function", "gen", 28, 28),
]
CHUNKS["javascript"] = [
    ("module", "", 1, 1),
    ("method", "app.use", 2, 5),
    ("function", "helper", 6, 9),
    ("class", "routes", 10, 13),
    ("function", "start", 14, 16),
    ("class", "K", 17, 21),
    ("function", "main", 22, 24),
    ("function", "Button", 25, 27),
    ("function", "gen", 28, 28),
]

PROGRAMS["typescript"] = """\
import { x } from 'y';
/** Doc. */
export interface Point {
  x: number;
}
export type Name = string | number;
export enum Color { Red, Green }
@Component({ selector: 'a' })
export abstract class C<T> implements Point {
  static LIMIT = 3;
  constructor(private b: number) { super(); }
  @Dec()
  m(): void {
    return;
  }
  arrow = (): void => {};
}
namespace N {
  export function inside(): void {}
}
declare function declared(a: string): void;
export const fn = async <T>(a: T): Promise<T> => a;
"""
DEFINITIONS["typescript"] = [
    ("class", "Point", 2, 5),
    ("class", "Name", 6, 6),
    ("class", "Color", 7, 7),
    ("class", "C", 8, 17),
    ("constant", "C.LIMIT", 10, 10),
    ("method", "C.constructor", 11, 11),
    ("method", "C.m", 12, 15),
    ("method", "C.arrow", 16, 16),
    ("function", "inside", 19, 19),
    ("function", "declared", 21, 21),
    ("function", "fn", 22, 22),
]
CHUNKS["typescript"] = [
    ("class", "Point", 1, 7),
    ("class", "C", 8, 17),
    ("function", "inside", 18, 21),
    ("function", "fn", 22, 22),
]

PROGRAMS["tsx"] = """\
export const App: FC<Props> = ({ a }) => {
  return <Box<string> a={a} />;
};
export default class View extends Component<Props> {
  render() {
    return <App a={1} />;
  }
}
"""
DEFINITIONS["tsx"] = [
    ("function", "App", 1, 3),
    ("class", "View", 4, 8),
    ("method", "View.render", 5, 7),
]
CHUNKS["tsx"] = [
    ("function", "App", 1, 3),
    ("class", "View", 4, 8),
]

PROGRAMS["go"] = """\
package main

// Max is.
const Max = 3

const (
	A = iota
	B
)

// Server serves.
type Server struct {
	Name string
}

type (
	Runner interface {
		Run() error
	}
	Alias = int
)

// Run runs.
func (s *Server) Run() error {
	return nil
}
func (l List[T]) Len() int { return 0 }
func Gen[T any](a T) T { return a }
"""
DEFINITIONS["go"] = [
    ("constant", "Max", 3, 4),
    ("constant", "A", 7, 7),
    ("constant", "B", 8, 8),
    ("class", "Server", 11, 14),
    ("class", "Runner", 17, 19),
    ("class", "Alias", 20, 20),
    ("method", "Server.Run", 23, 26),
    ("method", "List.Len", 27, 27),
    ("function", "Gen", 28, 28),
]
CHUNKS["go"] = [
    ("class", "Server", 1, 28),
]

PROGRAMS["rust"] = """\
//! Crate.
use std::fmt;

/// Doc.
#[derive(Debug)]
pub struct Pair<T> {
    x: T,
}
pub const LIMIT: u8 = 3;
enum E { A, B(u8) }
trait Shape {
    fn area(&self) -> f64 { 1.0 }
}
impl<T> Pair<T> {
    /// New.
    pub fn new(x: T) -> Self {
        Pair { x }
    }
}
impl<T> fmt::Display for Pair<T> {
    fn fmt(&self) -> u8 { 1 }
}
mod tests {
    #[test]
    fn it() {}
}
macro_rules! mac { () => {} }
"""
DEFINITIONS["rust"] = [
    ("class", "Pair", 4, 8),
    ("constant", "LIMIT", 9, 9),
    ("class", "E", 10, 10),
    ("class", "Shape", 11, 13),
    ("method", "Shape.area", 12, 12),
    ("method", "Pair.new", 15, 18),
    ("method", "Pair.fmt", 21, 21),
    ("class", "tests", 23, 26),
    ("method", "tests.it", 24, 25),
    ("function", "mac", 27, 27),
]
CHUNKS["rust"] = [
    ("module", "", 1, 2),
    ("class", "Pair", 4, 8),
    ("class", "E", 9, 13),
    ("class", "Pair", 14, 19),
    ("class", "Pair", 20, 22),
    ("class", "tests", 23, 27),
]

PROGRAMS["java"] = """\
package p;
import java.util.List;

/** Doc. */
@Ann
public class A<T> extends B {
    private static final int LIMIT = 3;
    int x;

    public A(int x) { this.x = x; }

    /** M. */
    @Override
    public int m(int a) {
        return a;
    }

    interface Inner { void q(); }

    enum E {
        X, Y;
        int w() { return 1; }
    }
}
record R(int a) {
    int b() { return 1; }
}
"""
DEFINITIONS["java"] = [
    ("class", "A", 4, 24),
    ("constant", "A.LIMIT", 7, 7),
    ("method", "A.A", 10, 10),
    ("method", "A.m", 12, 16),
    ("class", "A.Inner", 18, 18),
    ("method", "A.Inner.q", 18, 18),
    ("class", "A.E", 20, 23),
    ("method", "A.E.w", 22, 22),
    ("class", "R", 25, 27),
    ("method", "R.b", 26, 26),
]
CHUNKS["java"] = [
    ("module", "", 1, 2),
    ("class", "A", 4, 24),
    ("class", "R", 25, 27),
]

PROGRAMS["c"] = """\
#include <stdio.h>
#ifndef GUARD_H
#define GUARD_H
#define MAX 3
#define SQUARE(x) ((x) * (x))
typedef struct node {
    int a;
} node_t;
struct pair { int a; };
enum color { RED };
static int counter = 0;
int declared(int a);

/* Doc. */
static int *add(int a, int b)
{
    return a;
}
#ifdef X
int chosen(void) { return 1; }
#endif
#endif
"""
DEFINITIONS["c"] = [
    ("constant", "MAX", 4, 4),
    ("function", "SQUARE", 5, 5),
    ("class", "node_t", 6, 8),
    ("class", "pair", 9, 9),
    ("class", "color", 10, 10),
    ("constant", "counter", 11, 11),
    ("function", "add", 14, 18),
    ("function", "chosen", 20, 20),
]
CHUNKS["c"] = [
    ("function", "SQUARE", 1, 22),
]

PROGRAMS["cpp"] = """\
#include <string>
namespace ns {

/// Doc.
template <typename T>
class A : public B {
 public:
  A() : x_(1) {}
  int m() const {
    return x_;
  }
  bool operator==(const A& o) const { return true; }
  static constexpr int LIMIT = 3;
  int declared();

 private:
  int x_;
};

template <typename T>
int A<T>::out(int a) {
  return a;
}
A::~A() {}
}  // namespace ns
enum class Color { Red };
using Alias = int;
extern "C" int plain() { return 0; }
"""
DEFINITIONS["cpp"] = [
    ("class", "A", 4, 18),
    ("method", "A.A", 8, 8),
    ("method", "A.m", 9, 11),
    ("method", "A.operator==", 12, 12),
    ("method", "A.out", 20, 23),
    ("method", "A.~A", 24, 24),
    ("class", "Color", 26, 26),
    ("class", "Alias", 27, 27),
    ("function", "plain", 28, 28),
]
CHUNKS["cpp"] = [
    ("module", "", 1, 2),
    ("class", "A", 4, 18),
    ("method", "A.out", 20, 28),
]

PROGRAMS["csharp"] = """\
using System;

namespace N.M
{
    /// <summary>Doc.</summary>
    [Serializable]
    public class A<T> : B
    {
        public const int LIMIT = 3;
        public int P { get; set; }

        public A(int x) { }

        // About M.
        [Obsolete]
        public int M(int a)
        {
            return a;
        }
    }

    interface I { void R(); }
    struct S { }
    enum E { X, Y }
    record Rec(int A);
}
"""
DEFINITIONS["csharp"] = [
    ("class", "A", 5, 20),
    ("constant", "A.LIMIT", 9, 9),
    ("method", "A.P", 10, 10),
    ("method", "A.A", 12, 12),
    ("method", "A.M", 14, 19),
    ("class", "I", 22, 22),
    ("method", "I.R", 22, 22),
    ("class", "S", 23, 23),
    ("class", "E", 24, 24),
    ("class", "Rec", 25, 25),
]
CHUNKS["csharp"] = [
    ("module", "", 1, 4),
    ("class", "A", 5, 20),
    ("class", "I", 22, 26),
]

PROGRAMS["ruby"] = """\
require 'x'
LIMIT = 3

# Doc.
module M
  class A < B
    SIZE = 1
    attr_reader :x

    # About m.
    def m(a)
      a
    end

    def self.s; end

    class << self
      def t; end
    end

    private def hidden
      1
    end
  end
end

def top = 1
"""
DEFINITIONS["ruby"] = [
    ("constant", "LIMIT", 2, 2),
    ("class", "M", 4, 25),
    ("class", "M.A", 6, 24),
    ("constant", "M.A.SIZE", 7, 7),
    ("method", "M.A.m", 10, 13),
    ("method", "M.A.s", 15, 15),
    ("method", "M.A.t", 18, 18),
    ("method", "M.A.hidden", 21, 23),
    ("function", "top", 27, 27),
]
CHUNKS["ruby"] = [
    ("module", "", 1, 2),
    ("class", "M", 4, 25),
    ("function", "top", 27, 27),
]

PROGRAMS["php"] = """\
<?php
namespace A\\B;
use X\\Y;
const LIMIT = 3;

/** Doc. */
#[Attr]
abstract class A extends B implements C
{
    const SIZE = 1;
    public $p = 1;

    /** About m. */
    public static function m(int $a): int
    {
        return $a;
    }
}
interface I { function q(); }
trait T { function t() {} }
enum E: string { case X = 'x'; }
function top() {
    return 1;
}
$f = function () { return 1; };
"""
DEFINITIONS["php"] = [
    ("constant", "LIMIT", 4, 4),
    ("class", "A", 6, 18),
    ("constant", "A.SIZE", 10, 10),
    ("method", "A.m", 13, 17),
    ("class", "I", 19, 19),
    ("method", "I.q", 19, 19),
    ("class", "T", 20, 20),
    ("method", "T.t", 20, 20),
    ("class", "E", 21, 21),
    ("function", "top", 22, 24),
    ("function", "f", 25, 25),
]
CHUNKS["php"] = [
    ("module", "", 1, 4),
    ("class", "A", 6, 11),
    ("method", "A.m", 13, 18),
    ("class", "I", 19, 25),
]

PROGRAMS["kotlin"] = """\
package p
import a.b

const val LIMIT = 3

/** Doc. */
@Ann
data class A(val a: Int) : B() {
    val q = 1

    // About m.
    fun m(a: Int): Int = a

    companion object {
        const val MAX = 1
        fun make() = A(1)
    }

    inner class In {
        fun z() {}
    }
}
object O {
    fun s() {}
}
interface I {
    fun r()
}
fun String.ext(): Int {
    return 1
}
typealias Alias = Int
"""
DEFINITIONS["kotlin"] = [
    ("constant", "LIMIT", 4, 4),
    ("class", "A", 6, 22),
    ("method", "A.m", 11, 12),
    ("constant", "A.MAX", 15, 15),
    ("method", "A.make", 16, 16),
    ("class", "A.In", 19, 21),
    ("method", "A.In.z", 20, 20),
    ("class", "O", 23, 25),
    ("method", "O.s", 24, 24),
    ("class", "I", 26, 28),
    ("method", "I.r", 27, 27),
    ("function", "ext", 29, 31),
    ("class", "Alias", 32, 32),
]
CHUNKS["kotlin"] = [
    ("module", "", 1, 4),
    ("class", "A", 6, 22),
    ("class", "O", 23, 32),
]

PROGRAMS["swift"] = """\
import Foundation
let LIMIT = 3

/// Doc.
@objc
public class A<T>: B {
    static let MAX = 1
    init(a: Int) { }

    /// About m.
    func m(_ a: Int) -> Int {
        return a
    }
}
protocol P {
    func q()
}
extension A: P {
    func e() {}
}
struct S {
    func z() {}
}
enum E {
    case a, b
}
func top() {
    func nested() {}
}
"""
DEFINITIONS["swift"] = [
    ("constant", "LIMIT", 2, 2),
    ("class", "A", 4, 14),
    ("constant", "A.MAX", 7, 7),
    ("method", "A.init", 8, 8),
    ("method", "A.m", 10, 13),
    ("class", "P", 15, 17),
    ("method", "P.q", 16, 16),
    ("class", "A", 18, 20),
    ("method", "A.e", 19, 19),
    ("class", "S", 21, 23),
    ("method", "S.z", 22, 22),
    ("class", "E", 24, 26),
    ("function", "top", 27, 29),
    ("function", "top.nested", 28, 28),
]
CHUNKS["swift"] = [
    ("module", "", 1, 2),
    ("class", "A", 4, 14),
    ("class", "P", 15, 29),
]

PROGRAMS["bash"] = """\
#!/bin/bash
# Header.

LIMIT=3
readonly OTHER=4

# Doc.
greet() {
  local a=1
  echo "$a"
}
function two {
  echo 2
}
if true; then
  chosen() { :; }
fi
"""
DEFINITIONS["bash"] = [
    ("constant", "LIMIT", 4, 4),
    ("constant", "OTHER", 5, 5),
    ("function", "greet", 7, 11),
    ("function", "two", 12, 14),
    ("function", "chosen", 16, 16),
]
CHUNKS["bash"] = [
    ("function", "greet", 1, 17),
]


def test_every_grammar_has_a_program() -> None:
    assert set(PROGRAMS) == set(GRAMMARS)
    assert set(ALIASES.values()) <= set(GRAMMARS)


@pytest.mark.parametrize("language", PROGRAMS)
def test_definitions_are_found_with_their_names_and_lines(language: str) -> None:
    document = chunk_document(Document("a", PROGRAMS[language], language), FINE)
    assert [(d.kind, d.name, d.start_line, d.end_line) for d in document.definitions] == DEFINITIONS[language]


@pytest.mark.parametrize("language", PROGRAMS)
def test_chunks_lie_on_the_borders_of_definitions(language: str) -> None:
    document = chunk_document(Document("a", PROGRAMS[language], language), FINE)
    assert [(c.kind, c.symbol, c.start_line, c.end_line) for c in document.chunks] == CHUNKS[language]


@pytest.mark.parametrize("language", PROGRAMS)
def test_a_file_cut_off_anywhere_is_still_cut_into_chunks(language: str) -> None:
    text = PROGRAMS[language]
    for end in range(0, len(text), 11):
        chunks = chunk_document(Document("a", text[:end], language), FINE).chunks
        assert sum(c.text.count("\n") + 1 for c in chunks) <= text[:end].count("\n") + 1
        assert {n for n, line in enumerate(text[:end].split("\n"), 1) if line.strip()} <= {
            n for c in chunks for n in range(c.start_line, c.end_line + 1)
        }
