/* SPDX-License-Identifier: MIT */
/*
 * libneve, for those who allocate and collect: the heap, the native object
 * model, the collector's control. Those who bring an object model of their own
 * read neve/host.h.
 */
#ifndef NEVE_H
#define NEVE_H

#include "neve/base.h"
#include "neve/collect.h"
#include "neve/cow.h"
#include "neve/dump.h"
#include "neve/handle.h"
#include "neve/heap.h"
#include "neve/object.h"
#include "neve/observe.h"

#endif
