<?php
// SPDX-License-Identifier: MIT
// PHP as a peer; graph_work.h says what the work is.
ini_set("memory_limit", "-1");
const RING = 10, CHURN_RING = 4, BATCH = 32, WINDOW = 20000;

final class Node
{
    public ?Node $next = null;
    public ?Node $other = null;
    public int $value = 0;
}

function cpu_ms(): float
{
    $u = getrusage();
    return ($u["ru_utime.tv_sec"] + $u["ru_stime.tv_sec"]) * 1e3
        + ($u["ru_utime.tv_usec"] + $u["ru_stime.tv_usec"]) / 1e3;
}

function ring_new(int $length, ?Node $linked): Node
{
    $last = $head = new Node();
    for ($i = 1; $i < $length; $i++) {
        $node = new Node();
        $last->next = $node;
        $last = $node;
    }
    $last->next = $head;
    $last->other = $linked;
    return $head;
}

function rings(int $nodes): void
{
    gc_disable();
    $heads = [];
    $start = cpu_ms();
    for ($i = 0; $i < intdiv($nodes, RING); $i++) {
        $heads[] = ring_new(RING, null);
    }
    $built = cpu_ms();
    $heads = null;
    $dropped = cpu_ms();
    gc_enable();
    $collected = 0;
    while (($found = gc_collect_cycles()) > 0) {
        $collected += $found;
    }
    $end = cpu_ms();
    echo "ms ", $end - $start, "\nbuild_ms ", $built - $start, "\ndrop_ms ", $dropped - $built,
        "\ncollect_ms ", $end - $dropped, "\ncollected $collected\n";
}

function churn(int $live, float $seconds, string $kind): void
{
    $graph = $window = [];
    $at = 0;
    mt_srand(42);
    for ($i = 0; $i < $live; $i++) {
        $graph[] = new Node();
    }
    for ($i = 0; $i < $live; $i++) {
        $graph[$i]->next = $graph[mt_rand(0, $live - 1)];
        $graph[$i]->other = $graph[mt_rand(0, $live - 1)];
    }
    gc_collect_cycles();
    $before = $start = cpu_ms();
    $made = $longest = 0;
    while ($before - $start < $seconds * 1e3) {
        for ($i = 0; $i < BATCH; $i++) {
            $ring = ring_new(CHURN_RING, $kind === "linked" ? $graph[mt_rand(0, $live - 1)] : null);
            if ($kind === "aged") {
                $window[$at] = $ring;
                $at = ($at + 1) % WINDOW;
            }
        }
        $made += BATCH;
        $now = cpu_ms();
        $longest = max($longest, $now - $before);
        $before = $now;
    }
    echo "rings_per_s ", $made / ($before - $start) * 1e3, "\npause_ms $longest\n";
}

function tree_new(int $depth): Node
{
    $root = new Node();
    if ($depth > 0) {
        $root->next = tree_new($depth - 1);
        $root->other = tree_new($depth - 1);
    }
    return $root;
}

function tree_count(Node $root): int
{
    return $root->next === null ? 1 : 1 + tree_count($root->next) + tree_count($root->other);
}

function trees(int $depth): void
{
    $start = cpu_ms();
    $nodes = tree_count(tree_new($depth + 1));
    $long = tree_new($depth);
    for ($d = 4; $d <= $depth; $d += 2) {
        for ($i = 1 << ($depth - $d + 4); $i > 0; $i--) {
            $nodes += tree_count(tree_new($d));
        }
    }
    $nodes += tree_count($long);
    echo "ms ", cpu_ms() - $start, "\nnodes $nodes\n";
}

match ($argv[1] ?? "") {
    "rings" => rings((int)$argv[2]),
    "churn" => churn((int)$argv[2], (float)$argv[3], $argv[4]),
    "trees" => trees((int)$argv[2]),
    default => exit(2),
};
preg_match("/^VmHWM:\s*(\d+)/m", file_get_contents("/proc/self/status"), $peak);
echo "peak_kb $peak[1]\n";
